"""The one object both edges know: admit, answer, time, count."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from service.errors import BackendFailed, Cancelled, DeadlineExceeded, NotFound, Overloaded, ServiceError
from service.models.executor import Question, Read
from service.models.lookup import targets_label
from service.models.registry import Catalog
from service.models.version import Status
from service.observability import context as current
from service.observability.error_log import FailureLog
from service.observability.metrics.registry import Metrics
from service.repository.manifest import Manifest
from service.routing.describe import report
from service.routing.discretion import Discretion
from service.routing.router import Router
from service.security.authorizer import Gate
from service.types import Call, ModelRef, PredictResult


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
        tracing: current.Tracing | None = None,
        awaited: Callable[[], str] = str,
    ) -> None:
        """`awaited` says which other processes have to be ready too, and are not yet."""
        self._catalog, self._router, self._metrics, self._gate = catalog, router, metrics, gate
        self._max_in_flight, self._latency_slo = max_in_flight, latency_slo
        self._tracing, self._awaited = tracing, awaited
        self._failures = FailureLog()
        self._in_flight = 0
        self._draining = False

    async def predict(self, call: Call, read: Read) -> PredictResult:
        """The answer of the version that `call` means to what `read` reads.

        Everything from admission on, reading the body too, is inside the deadline and counted.
        Raises ServiceError; a cancelled call leaves the queues.
        """
        started = time.monotonic()
        call = self._with_deadline(call, started)
        question = Question(read)
        request = self._begin(call)
        try:
            self._gate.authorise(call.ref.name)
            self._admit()
            self._gate.charge()
            async with asyncio.timeout(None if call.deadline is None else call.deadline - started):
                result = await self._router.answer(call, question)
        except BaseException as error:
            failure = _as_service_error(error)
            self._fail(call, request, failure, question.resolved)
            try:
                if isinstance(failure, Cancelled):
                    raise
                failure = self._discretion(call.ref.name).error(failure)
                if failure is error:
                    raise
                raise failure from error
            finally:
                del failure  # its traceback leads back here, and the body would stay until a collection
        finally:
            self._in_flight -= 1
        request.answered = time.monotonic()
        timings = replace(result.timings, read=question.reading, total=request.answered - started)
        result, request.ref = replace(result, timings=timings), result.answered_by
        self._metrics.succeeded(call.protocol, result, request.exemplar)
        if request.span is not None:
            request.span.end(current.OK, result.timings.parts())
        return self._discretion(call.ref.name).result(result)

    def refuse(self, call: Call) -> ServiceError | None:
        """Why `predict` would refuse `call` before it reads anything, for want of time or of room; None where it would
        not. What is refused here is counted and logged as `predict` does it, and costs next to nothing.
        """
        call = self._with_deadline(call, time.monotonic())
        full = self._in_flight >= self._max_in_flight
        turned = (self._full(), None) if full else self._router.overloaded(call)
        if turned is None:
            return None
        failure: ServiceError
        failure, resolved = turned
        request = self._begin(call)
        try:
            self._gate.authorise(call.ref.name)
            if not full:
                self._gate.charge()
        except ServiceError as error:
            failure, resolved = error, None
        self._in_flight -= 1
        self._fail(call, request, failure, resolved)
        return self._discretion(call.ref.name).error(failure)

    async def describe(self, ref: ModelRef) -> Manifest:
        """What the version that `ref` means says of itself, under the name asked for.

        Raises NotFound or NotReady, Unauthenticated or Forbidden.
        """
        self._gate.authorise(ref.name)
        with self._discreet(ref.name):
            return replace(await self._manifest(self._router.stands_for(ref), ref.label), name=ref.name)

    async def batching(self, ref: ModelRef) -> Mapping[str, str]:
        """Why requests run alone, by signature, of the version that `ref` means; "" for those that share batches.

        Raises NotFound or NotReady, Unauthenticated or Forbidden.
        """
        self._gate.authorise(ref.name)
        allowed, asked = self._router.batching(ref), ref.label
        ref = self._router.stands_for(ref)
        await self._catalog.look_for(ref.name)
        with targets_label(ref, asked), self._catalog.lease(ref) as servable:
            unshared = servable.batcher.sharing.unshared
            refused = "" if allowed else "the routes say `batching: false`"
            return {name: refused or unshared.get(name, "") for name in servable.manifest.signatures}

    async def statuses(self, name: str, version: int | None = None) -> list[Status]:
        """The versions of a model (of the one a route leads to), newest first, the last that went too; or one of them.

        Raises NotFound, Unauthenticated or Forbidden.
        """
        self._gate.authorise(name)
        with self._discreet(name) as discretion:
            target = self._router.stands_for(ModelRef(name)).name
            await self._catalog.look_for(target)
            statuses = [discretion.status(status) for status in self._catalog.statuses(target)]
        if version is None:
            return statuses
        found = [status for status in statuses if status.version == version]
        if not found:
            known = [status.version for status in statuses]
            raise NotFound(f"model {name!r} has no version {version}; versions seen: {known}", versions=known)
        return found

    def available(self) -> Mapping[str, list[int]]:
        """Model name -> versions that answer, newest first: of the models that whoever asks may know of."""
        return {name: versions for name, versions in self._catalog.available().items() if self._gate.shows(name)}

    def index(self) -> Mapping[str, list[Status]]:
        """Model name -> its versions, newest first, the last that went too, of the models whoever asks may know of."""
        return {name: statuses for name, statuses in self._catalog.index().items() if self._gate.shows(name)}

    def passed_over(self) -> Mapping[str, str]:
        """Path below the repository -> why nothing is served from there, of what whoever asks may know of."""
        return self._catalog.passed_over()

    async def routes(self) -> Mapping[str, Any]:
        """The routes in force and what is wrong with their file, as JSON. Raises Unauthenticated or Forbidden."""
        self._gate.authorise_all()
        return await report(self._router.file, self._manifest)

    @property
    def trouble(self) -> str:
        """Why no new traffic should come here; empty where it should."""
        return "shutting down" if self._draining else self._catalog.trouble or self._awaited()

    def drain(self) -> None:
        """Readiness goes; requests are still answered until the edges close."""
        self._draining = True
        self._router.end_shadows()

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def in_flight(self) -> int:
        return self._in_flight

    async def _manifest(self, ref: ModelRef, asked: str | None = None) -> Manifest:
        await self._catalog.look_for(ref.name)
        with targets_label(ref, asked), self._catalog.lease(ref) as servable:
            return servable.manifest

    def _discretion(self, name: str) -> Discretion:
        return Discretion(name, {other for other in self._router.leads_to(name) if not self._gate.shows(other)})

    @contextmanager
    def _discreet(self, name: str) -> Iterator[Discretion]:
        """Whatever goes wrong inside is told in the names that whoever asks for `name` may know."""
        discretion = self._discretion(name)
        try:
            yield discretion
        except ServiceError as error:
            told = discretion.error(error)
            if told is error:
                raise
            raise told from error

    def _with_deadline(self, call: Call, now: float) -> Call:
        """The same call, with the deadline that its route or the service sets where it brings none."""
        if call.deadline is None and (slo := self._router.latency_slo(call.ref.name) or self._latency_slo):
            arrived = now if call.arrived is None else call.arrived
            return replace(call, deadline=arrived + slo, arrived=arrived)
        return call

    def _begin(self, call: Call) -> current.Current:
        request = current.ask(call.protocol)
        if self._tracing is not None:
            self._tracing.begin(request)
        self._metrics.started()
        self._in_flight += 1
        return request

    def _fail(self, call: Call, request: current.Current, failure: ServiceError, resolved: ModelRef | None) -> None:
        request.ref = resolved
        self._metrics.failed(call.protocol, failure.code, resolved)
        self._failures.record(call.ref, failure)
        if request.span is not None:
            request.span.end(failure.code, {})

    def _admit(self) -> None:
        if self._in_flight > self._max_in_flight:
            raise self._full()

    def _full(self) -> Overloaded:
        return Overloaded(f"{self._max_in_flight} requests are under way already; ask again later")


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
