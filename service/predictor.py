"""The one object that every protocol knows: admit, route, predict, time, count."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from service.errors import BackendFailed, Cancelled, DeadlineExceeded, NotFound, Overloaded, ServiceError
from service.models.executor import Admission, Turned
from service.models.lookup import translate_label_error
from service.models.registry import Catalog
from service.models.version import State, Status
from service.observability.context import OK, RequestContext, Trace, Tracing
from service.observability.error_log import FailureLog
from service.observability.metrics.registry import Metrics
from service.observability.metrics.statistics import Statistics
from service.plurals import format_items
from service.repository.manifest import Manifest
from service.routing.describe import report
from service.routing.discretion import Discretion
from service.routing.router import Router
from service.security.authorizer import Gate
from service.types import NOBODY, Caller, ModelRef, PredictRequest, PredictResult, Tensors

_T = TypeVar("_T")


class Admitted:
    """A request that was let in: its body is parsed against `manifest`, and then predicted, once."""

    def __init__(self, admission: Admission, finish: Callable[[PredictResult, float], PredictResult]) -> None:
        self._admission, self._finish, self._since = admission, finish, time.monotonic()
        self.manifest = admission.manifest
        self.is_answered = False

    async def predict(self, request: PredictRequest) -> PredictResult:
        """Raises ServiceError."""
        read = time.monotonic() - self._since
        result = self._finish(await self._admission.predict(request), read)
        self.is_answered = True
        return result


class Predictor:
    """Owns the count of requests under way, and whether new ones should come at all.

    `latency_slo` is the deadline, in seconds from its arrival, of a call that brings none on a route that sets none.
    """

    def __init__(
        self,
        catalog: Catalog,
        router: Router,
        metrics: Metrics,
        gate: Gate,
        max_in_flight: int,
        latency_slo: float | None = None,
        tracing: Tracing | None = None,
        awaited: Callable[[], str] = str,
        max_rows: int = 1024,
    ) -> None:
        """`awaited` tells which other processes have to be ready too, and are not yet; `max_rows` is the most that one
        request may have.
        """
        self._catalog, self._router, self._metrics, self._gate = catalog, router, metrics, gate
        self._max_in_flight, self._latency_slo = max_in_flight, latency_slo
        self._tracing, self._awaited = tracing, awaited
        self._failures = FailureLog()
        self.max_rows = max_rows
        self.in_flight = 0
        self.draining = False

    @asynccontextmanager
    async def admit(self, context: RequestContext, ref: ModelRef) -> AsyncIterator[Admitted]:
        """Lets a request in, whose body is parsed and predicted inside: all of that is within the deadline and counted.

        Raises ServiceError, whatever is raised inside; a request that is cancelled leaves the queues.
        """
        started = time.monotonic()
        context = self._set_deadline(context, ref, started)
        trace = context.trace
        self._begin(trace)
        admitted = None
        try:
            self._gate.authorise(context.caller, ref.name)
            if self.in_flight > self._max_in_flight:
                raise self._make_overload()
            self._gate.charge(context.caller)
            async with asyncio.timeout(None if context.deadline is None else context.deadline - started):
                admission = await self._router.admit(context, ref)
                admitted = Admitted(admission, lambda result, read: self._finish(context, ref, started, result, read))
                try:
                    yield admitted
                    assert admitted.is_answered, "whoever is admitted asks for a prediction"
                except BaseException as error:
                    admission.release(error)
                    raise
        except BaseException as error:
            if admitted is not None and admitted.is_answered:
                raise
            failure = _as_service_error(error)
            self._fail(context, ref, failure, self._metrics.failed)
            try:
                if isinstance(failure, Cancelled):
                    raise
                failure = self._make_discretion(context.caller, ref.name).error(failure)
                if failure is error:
                    raise
                raise failure from error
            finally:
                del failure  # its traceback leads back here, and the body would stay until a collection
        finally:
            self.in_flight -= 1

    def refuse(self, context: RequestContext, ref: ModelRef) -> ServiceError | None:
        """Why `admit` would refuse a request for want of time or of room; None where it would not. What is refused here
        is counted and logged as `admit` does it, and costs next to nothing.
        """
        context = self._set_deadline(context, ref, time.monotonic())
        full = self.in_flight >= self._max_in_flight
        turned = Turned(self._make_overload()) if full else self._router.find_overload(context, ref)
        if turned is None:
            return None
        failure: ServiceError = turned.error
        if self._tracing is not None:
            self._tracing.begin(context.trace)
        try:
            self._gate.authorise(context.caller, ref.name)
            if not full:
                self._gate.charge(context.caller)
            context.trace.ref = turned.ref
        except ServiceError as error:
            failure = error
        self._fail(context, ref, failure, self._metrics.refused)
        return self._make_discretion(context.caller, ref.name).error(failure)

    async def describe(self, caller: Caller, ref: ModelRef) -> Manifest:
        """What the version that `ref` means says of itself, under the name asked for.

        Raises NotFound or NotReady, Unauthenticated or Forbidden.
        """
        self._gate.authorise(caller, ref.name)
        with self._discreet(caller, ref.name):
            target = self._router.routes.stands_for(ref)
            return replace(await self._find_manifest(caller, target, ref.label), name=ref.name)

    async def find_version(self, caller: Caller, ref: ModelRef) -> ModelRef:
        """The version that `ref` means, under its own name.

        Raises NotFound or NotReady, Unauthenticated or Forbidden.
        """
        self._gate.authorise(caller, ref.name)
        with self._discreet(caller, ref.name):
            manifest = await self._find_manifest(caller, self._router.routes.stands_for(ref), ref.label)
        return ModelRef(manifest.name, manifest.version)

    async def preprocess(self, manifest: Manifest, request: PredictRequest) -> Tensors:
        """What that version would be given for `request`: decoded images, upright and of its size. Raises
        ServiceError.
        """
        return await self._router.preprocess(manifest, request)

    async def describe_batching(self, caller: Caller, ref: ModelRef) -> Mapping[str, str]:
        """Why requests run alone, by signature, of the version that `ref` means; "" for those that share batches.

        Raises NotFound or NotReady, Unauthenticated or Forbidden.
        """
        self._gate.authorise(caller, ref.name)
        allowed, target = self._router.routes.batching(ref), self._router.routes.stands_for(ref)
        await self._catalog.look_for(target.name)
        with translate_label_error(target, ref.label), self._catalog.lease(target, caller) as servable:
            unshared = servable.batcher.sharing.unshared
            refused = "" if allowed else "the routes say `batching: false`"
            return {name: refused or unshared.get(name, "") for name in servable.manifest.signatures}

    async def list_statuses(self, caller: Caller, name: str, version: int | None = None) -> list[Status]:
        """The versions of a model (of the one a route leads to), newest first, the last that went too; or one of them.

        Raises NotFound, Unauthenticated or Forbidden.
        """
        self._gate.authorise(caller, name)
        with self._discreet(caller, name) as discretion:
            target = self._router.routes.stands_for(ModelRef(name)).name
            await self._catalog.look_for(target)
            statuses = [discretion.status(status) for status in self._catalog.statuses(target, caller)]
        if version is None:
            return statuses
        found = [status for status in statuses if status.version == version]
        if not found:
            known = [status.version for status in statuses]
            raise NotFound(f"model {name!r} has no version {version}; versions seen: {known}", versions=known)
        return found

    def list_models(self, caller: Caller) -> Mapping[str, list[int]]:
        """Model name -> versions that answer, newest first: of the models that the caller may know of."""
        return self._shown(caller, self._catalog.available())

    def list_versions(self, caller: Caller) -> Mapping[str, list[Status]]:
        """Model name -> its versions, newest first, the last that went too, of the models the caller may know of."""
        return self._shown(caller, self._catalog.index())

    async def list_statistics(
        self, caller: Caller, name: str = "", version: int | None = None
    ) -> Mapping[str, Mapping[int, Statistics]]:
        """Model name -> version that answers, newest first -> what is counted for it: of the model `name`, or of all
        that the caller may know of.

        Raises NotFound, Unauthenticated or Forbidden.
        """
        models = {name: await self.list_statuses(caller, name, version)} if name else self.list_versions(caller)
        target = self._router.routes.stands_for(ModelRef(name)).name if name else ""
        counted = self._metrics.read_statistics()
        return {
            model: {
                status.version: counted.get(ModelRef(target or model, status.version), Statistics())
                for status in statuses
                if status.state == State.AVAILABLE
            }
            for model, statuses in models.items()
        }

    def list_passed_over(self, caller: Caller) -> Mapping[str, str]:
        """Path below the repository -> why nothing is served from there, of what the caller may know of."""
        return self._catalog.passed_over(caller)

    async def describe_routes(self, caller: Caller) -> Mapping[str, Any]:
        """The routes in force and what is wrong with their file, as JSON. Raises Unauthenticated or Forbidden."""
        self._gate.authorise_all(caller)
        return await report(self._router.file, lambda ref: self._find_manifest(caller, ref))

    def find_trouble(self, caller: Caller = NOBODY) -> str:
        """Why no new traffic should come here, with the names that the caller may know; empty where it should."""
        return "shutting down" if self.draining else self._catalog.find_trouble(caller) or self._awaited()

    def drain(self) -> None:
        """Readiness goes; requests are still answered until the edges close."""
        self.draining = True
        self._router.end_shadows()

    async def _find_manifest(self, caller: Caller, ref: ModelRef, asked: str | None = None) -> Manifest:
        await self._catalog.look_for(ref.name)
        with translate_label_error(ref, asked), self._catalog.lease(ref, caller) as servable:
            return servable.manifest

    def _shown(self, caller: Caller, by_name: Mapping[str, list[_T]]) -> Mapping[str, list[_T]]:
        return {name: values for name, values in by_name.items() if self._gate.shows(caller, name)}

    def _make_discretion(self, caller: Caller, name: str) -> Discretion:
        reached = self._router.routes.leads_to(name)
        return Discretion(name, {other for other in reached if not self._gate.shows(caller, other)})

    @contextmanager
    def _discreet(self, caller: Caller, name: str) -> Iterator[Discretion]:
        """Whatever goes wrong inside is told in the names that whoever asks for `name` may know."""
        discretion = self._make_discretion(caller, name)
        try:
            yield discretion
        except ServiceError as error:
            told = discretion.error(error)
            if told is error:
                raise
            raise told from error

    def _set_deadline(self, context: RequestContext, ref: ModelRef, now: float) -> RequestContext:
        """The same context, with the deadline that the route or the service sets where it brings none."""
        if context.deadline is None and (slo := self._router.routes.latency_slo(ref.name) or self._latency_slo):
            arrived = now if context.arrived is None else context.arrived
            return RequestContext(context.trace, context.caller, arrived + slo, context.routing_key, context.arrived)
        return context

    def _begin(self, trace: Trace) -> None:
        if self._tracing is not None:
            self._tracing.begin(trace)
        self._metrics.started()
        self.in_flight += 1

    def _finish(
        self, context: RequestContext, ref: ModelRef, started: float, result: PredictResult, read: float
    ) -> PredictResult:
        trace = context.trace
        trace.answered, trace.ref = time.monotonic(), result.answered_by
        result = replace(result, timings=replace(result.timings, read=read, total=trace.answered - started))
        self._metrics.succeeded(context.protocol, result, trace.exemplar)
        if trace.span is not None:
            trace.span.end(OK, result.timings.parts())
        return self._make_discretion(context.caller, ref.name).result(result)

    def _fail(
        self,
        context: RequestContext,
        ref: ModelRef,
        failure: ServiceError,
        count: Callable[[str, str, ModelRef | None], None],
    ) -> None:
        trace = context.trace
        count(context.protocol, failure.code, trace.ref)
        self._failures.record(ref, failure)
        if trace.span is not None:
            trace.span.end(failure.code, {})

    def _make_overload(self) -> Overloaded:
        return Overloaded(f"{format_items(self._max_in_flight, 'request')} under way already; ask again later")


def _as_service_error(error: BaseException) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the deadline passed before the model answered")
    if isinstance(error, asyncio.CancelledError):
        return Cancelled("the client went away")
    failed = BackendFailed("the server failed; its log says why")
    failed.__cause__ = error
    return failed
