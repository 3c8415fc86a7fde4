"""A plan under way: each step first lets the request in, then predicts; where it fails, the next one does the same.

    Execution.admit ──> PlanRun ──> StepRun ──> HeldVersion | PlanRun | AverageRun ──> its members' StepRuns

Each run is an `Admission`, so the body is parsed by whoever received it once the first willing target has let it in.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from service.errors import Code, DeadlineExceeded, InvalidInput, Overloaded, ServiceError, TooLarge
from service.models.executor import Admission, Answering
from service.models.lookup import translate_label_error
from service.observability.context import OK, RequestContext
from service.observability.error_log import FailureLog
from service.observability.metrics.routes import RouteMetrics
from service.plurals import format_items
from service.repository.manifest import Manifest
from service.routing import ensemble
from service.routing.plan import Average, Plan, Route, Step
from service.routing.routes_file import RoutesFile
from service.routing.shadow import Shadows
from service.types import ModelRef, PredictRequest, PredictResult

_PASSING_ON = (Code.OVERLOADED, Code.NOT_READY, Code.BACKEND, Code.NOT_FOUND)
"""Failures of a target that another may not have; the first of them found is what the client is told."""
_MEMBERS_SHARE = 0.9  # of the time left: an ensemble that may do without a member must still answer in time


@dataclass(frozen=True, slots=True)
class Errand:
    """`label` is the one that the client asked for. `alone` says that a route on the way lets its calls share no
    batches.
    """

    context: RequestContext
    label: str | None = None
    alone: bool = False


class Execution:
    """Owns how many calls are under way on each route, and the shadows."""

    def __init__(self, answering: Answering, file: RoutesFile, metrics: RouteMetrics) -> None:
        self._answering, self._file, self.metrics = answering, file, metrics
        self._under_way: Counter[str] = Counter()
        self.failures = FailureLog()
        self.shadows = Shadows(self._predict_shadow, metrics)

    async def admit(self, step: ModelRef | Plan, errand: Errand) -> Admission:
        """Raises ServiceError, and TimeoutError where a route's own deadline ends it."""
        if isinstance(step, Plan):
            run = PlanRun(self, step, errand)
            await run.enter()
            return run
        alone = errand.alone or not self._file.routes.model_batching(step.name)
        with translate_label_error(step, errand.label):
            return await self._answering.admit(errand.context, step, alone)

    @contextmanager
    def take_place(self, route: Route) -> Iterator[None]:
        """One of those that `route` has. Raises Overloaded."""
        if route.max_in_flight is not None and self._under_way[route.name] >= route.max_in_flight:
            self.metrics.asked(route.name, "", Code.OVERLOADED)
            most = format_items(route.max_in_flight, "request")
            raise Overloaded(f"route {route.name!r} has {most} under way already; ask again later")
        self._under_way[route.name] += 1
        try:
            yield
        finally:
            self._under_way[route.name] -= 1

    async def _predict_shadow(
        self, context: RequestContext, step: ModelRef | Plan, request: PredictRequest, alone: bool
    ) -> PredictResult:
        admission = await self.admit(step, Errand(context, alone=alone))
        return await admission.predict(request)


class PlanRun:
    """The first step that answers, on one of its route's places, within its limits."""

    def __init__(self, execution: Execution, plan: Plan, errand: Errand) -> None:
        self._execution, self._plan = execution, plan
        self._started = time.monotonic()
        self._late: float | None = None
        context, slo = errand.context, plan.route.latency_slo
        if context.deadline is None and slo is not None:
            self._late = self._started + slo
            context = replace(context, deadline=self._late)
        self._errand = Errand(context, errand.label, errand.alone or not plan.route.batching)
        self._steps = iter(plan.steps)
        self._failures: list[ServiceError] = []

    @property
    def manifest(self) -> Manifest:
        return self._step.manifest

    async def enter(self) -> None:
        """Returns once a step has let the request in. Raises as `Execution.admit` does."""
        with ExitStack() as place:
            place.enter_context(self._execution.take_place(self._plan.route))
            try:
                async with self._until_late():
                    await self._advance()
            except BaseException:
                self._failures.clear()  # their tracebacks lead back here
                raise
            self._place = place.pop_all()

    async def predict(self, request: PredictRequest) -> PredictResult:
        route = self._plan.route
        try:
            with self._place:
                async with self._until_late():
                    self._check_rows(request)
                    result = await self._predict_first(request)
        finally:
            self._failures.clear()  # their tracebacks lead back here, and the body would stay until a collection
        seconds = time.monotonic() - self._started
        self._execution.metrics.answered(route.name, seconds)
        if self._plan.shadow is not None and self._step.step is self._plan.steps[0]:
            # A substitute's answer says nothing about the target.
            self._execution.shadows.start(
                self._errand.context, self._plan, request, result, seconds, self._errand.alone
            )
        return replace(result, ref=ModelRef(route.name, result.ref.version))

    def release(self, error: BaseException) -> None:
        self._step.release(error)
        self._failures.clear()
        self._place.close()

    async def _predict_first(self, request: PredictRequest) -> PredictResult:
        while True:
            try:
                return await self._step.predict(request)
            except ServiceError as error:
                if not self._passes_on(error):
                    raise
                self._record(self._step, error)
            await self._advance()

    async def _advance(self) -> None:
        """On to the next step that lets the request in. Raises the failure that gives most hope where none does."""
        for step in self._steps:
            run = StepRun(self._execution, self._plan, step, self._errand)
            try:
                await run.enter()
            except ServiceError as error:
                if not self._passes_on(error):
                    raise
                self._record(run, error)
            else:
                self._step = run
                return
        raise min(self._failures, key=lambda error: _PASSING_ON.index(error.code))

    def _passes_on(self, error: ServiceError) -> bool:
        return error.code in _PASSING_ON and not _is_late(self._errand)

    def _record(self, run: "StepRun", error: ServiceError) -> None:
        self._failures.append(error)
        if run.step is not self._plan.steps[-1]:
            self._execution.metrics.fell_back(self._plan.route.name, run.target, error.code)
            self._execution.failures.record(ModelRef(run.target), error)

    def _check_rows(self, request: PredictRequest) -> None:
        most, name = self._plan.route.max_rows, self._plan.route.name
        if most is not None and request.rows > most:
            rows = format_items(most, "row")
            error = TooLarge(f"route {name!r} takes {rows} in one request, got {request.rows}", max_rows=most)
            self._step.release(error)
            raise error

    def _until_late(self) -> asyncio.Timeout:
        return asyncio.timeout(None if self._late is None else self._late - time.monotonic())


class StepRun:
    """One target's part in a call, counted under its route."""

    def __init__(self, execution: Execution, plan: Plan, step: Step, errand: Errand) -> None:
        self._execution, self._plan, self.step, self._errand = execution, plan, step, errand
        self.target = find_label(plan, step)
        self._settled = False

    @property
    def manifest(self) -> Manifest:
        return self._admission.manifest

    async def enter(self) -> None:
        with self._counted():
            self._admission = await self._admit()

    async def predict(self, request: PredictRequest) -> PredictResult:
        self._settled = True
        with self._counted():
            result = await self._admission.predict(request)
        self._execution.metrics.asked(self._plan.route.name, self.target, OK)
        return result

    def release(self, error: BaseException) -> None:
        if not self._settled:
            self._settled = True
            self._count(error)
            self._admission.release(error)

    async def _admit(self) -> Admission:
        if not isinstance(self.step, Average):
            return await self._execution.admit(self.step, self._errand)
        run = AverageRun(self._execution, self._plan, self.step, self._errand)
        await run.enter()
        return run

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._count(error)
            raise

    def _count(self, error: BaseException) -> None:
        if isinstance(error, ServiceError):
            self._execution.metrics.asked(self._plan.route.name, self.target, error.code)
        elif isinstance(error, TimeoutError | asyncio.CancelledError):
            code = Code.DEADLINE if _is_late(self._errand) else Code.CANCELLED
            self._execution.metrics.asked(self._plan.route.name, self.target, code)


class AverageRun:
    """All members at once. As soon as too many have failed for the quorum, the others are given up."""

    def __init__(self, execution: Execution, plan: Plan, average: Average, errand: Errand) -> None:
        self._members = [(StepRun(execution, plan, step, errand), weight) for step, weight in average.members]
        self._entered: dict[StepRun, float] = {}
        self._failures: list[ServiceError] = []
        self._spare = len(average.members) - average.quorum
        left = errand.context.seconds_left
        self._until = None if left is None or not self._spare else time.monotonic() + left * _MEMBERS_SHARE

    @property
    def manifest(self) -> Manifest:
        """The first member's; neither a temperature nor a threshold was fitted on an average."""
        return replace(next(iter(self._entered)).manifest, temperature=None, known_threshold=None)

    async def enter(self) -> None:
        """Returns once as many members as are needed have let the request in. Raises ServiceError."""
        try:
            for run, weight in self._members:
                try:
                    await run.enter()
                    self._entered[run] = weight
                except (ServiceError, TimeoutError) as error:
                    self._fail(error)
        except BaseException as error:
            self.release(error)
            raise

    async def predict(self, request: PredictRequest) -> PredictResult:
        tasks = {asyncio.create_task(run.predict(request)): weight for run, weight in self._entered.items()}
        waiting = set(tasks)
        try:
            while waiting:
                timeout = None if self._until is None else max(0.0, self._until - time.monotonic())
                done, waiting = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:  # what is not here by now is late
                    self._fail(*(TimeoutError() for _ in waiting))
                    break
                self._fail(*(error for task in done if (error := task.exception()) is not None))
            answered = [task for task in tasks if task not in waiting and task.exception() is None]
            if not any(tasks[task] for task in answered):
                raise self._failures[0]
            return ensemble.average([task.result() for task in answered], [tasks[task] for task in answered])
        finally:
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.wait(waiting)
            self.release(asyncio.CancelledError())  # of members whose part never began

    def release(self, error: BaseException) -> None:
        for run in self._entered:
            run.release(error)
        self._failures.clear()  # their tracebacks lead back here

    def _fail(self, *errors: BaseException) -> None:
        """So many more members have failed. Raises where those are too many, and what is a fault of ours as it is."""
        for error in errors:
            if isinstance(error, TimeoutError):
                error = DeadlineExceeded("a member of the ensemble did not answer in time")
            if not isinstance(error, ServiceError):
                raise error
            self._failures.append(error)
        if len(self._failures) > self._spare:
            ours = (failure for failure in self._failures if isinstance(failure, InvalidInput | TooLarge))
            raise next(ours, self._failures[0])


def find_label(plan: Plan, step: Step) -> str:
    """A target as configured, for logs and metrics; never what a client wrote."""
    if isinstance(step, Average):
        return "ensemble"
    if plan.exact:
        return "as asked"
    return str(step) if isinstance(step, ModelRef) else step.route.name


def _is_late(errand: Errand) -> bool:
    left = errand.context.seconds_left
    return left is not None and left <= 0
