"""Carries out what a plan says: one target or several, the next where one fails, a shadow besides."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from service.errors import Code, DeadlineExceeded, InvalidInput, NotFound, Overloaded, ServiceError, TooLarge
from service.models.executor import Answering, Question, Turned
from service.models.lookup import targets_label
from service.observability.context import OK
from service.observability.error_log import FailureLog
from service.observability.metrics.registry import Metrics
from service.repository.manifest import Manifest
from service.routing import ensemble as probabilities
from service.routing.plan import Average, Plan, Route, Step
from service.routing.routes_file import RoutesFile
from service.routing.shadow import Shadows
from service.types import Call, ModelRef, PredictRequest, PredictResult

_PASSING_ON = (Code.OVERLOADED, Code.NOT_READY, Code.BACKEND, Code.NOT_FOUND)
"""Failures of a target that another may not have; the first of them found is what the client is told."""
_MEMBERS_SHARE = 0.9  # of the time left: an ensemble that may do without a member must still answer in time


@dataclass(frozen=True, slots=True)
class _Errand:
    """`label` is the one that the client asked for. `alone` says that a route on the way lets its calls share no
    batches.
    """

    question: Question
    deadline: float | None
    label: str | None = None
    alone: bool = False

    @property
    def left(self) -> float | None:
        return None if self.deadline is None else self.deadline - time.monotonic()


class Router:
    """Owns how many calls are under way on each route.

    `shows` tells which names whoever asks may read in an error.
    """

    def __init__(
        self,
        answering: Answering,
        file: RoutesFile,
        metrics: Metrics,
        shows: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self._answering, self.file, self._metrics, self._shows = answering, file, metrics.routes, shows
        self._under_way: Counter[str] = Counter()
        self._failures = FailureLog()
        self._shadows = Shadows(self._take_shadow, metrics.routes)
        self._chance = random.Random()

    async def answer(self, call: Call, question: Question) -> PredictResult:
        """The answer of what `call.ref` means by the routes in force.

        Raises ServiceError, and TimeoutError where a route's own deadline ends it.
        """
        routes = self.file.routes
        try:
            plan = routes.plan(call.ref, call.key, self._chance)
        except NotFound as error:
            self._tell(error)
            raise
        errand = _Errand(question, call.deadline, call.ref.label)
        if isinstance(plan, ModelRef):
            try:
                return await self._take(plan, errand)
            except NotFound as error:
                self._tell(error)
                raise
        try:
            result = await self._follow(plan, errand)
        except InvalidInput as error:
            if call.ref.label is None or "labels" not in error.detail:
                raise
            known = sorted({*routes.labels_of(call.ref.name), *error.detail["labels"]})
            raise InvalidInput(
                f"{call.ref.name!r} has no version label {call.ref.label!r}; labels here: {known}", labels=known
            ) from error
        return replace(result, ref=ModelRef(call.ref.name, result.ref.version))

    def overloaded(self, call: Call) -> Turned | None:
        """Why `answer` would refuse `call` now, for want of time and whoever is asked, and the version that would;
        None where it would not, or where only asking can tell. Counts what it refuses as `answer` does.
        """
        try:
            plan = self.file.routes.plan(call.ref, call.key, self._chance)
        except ServiceError:
            return None
        if not call.key and _is_drawn(plan):  # `answer` draws anew: a call must not get two chances at a busy target
            return None
        turned = self._turned(plan, call.deadline)
        if turned is not None:
            self._count(plan)
        return turned

    def _turned(self, step: Step, deadline: float | None) -> Turned | None:
        if isinstance(step, ModelRef):
            return self._answering.overloaded(step, deadline)
        if isinstance(step, Average):
            return None
        if deadline is None and step.route.latency_slo is not None:
            deadline = time.monotonic() + step.route.latency_slo
        first = None
        for one in step.steps:
            turned = self._turned(one, deadline)
            if turned is None:  # whoever is behind it is not asked, and keeps no place for this call
                return None
            first = first or turned
        return first

    def _count(self, step: Step) -> None:
        """A refusal of every target there is, on each route it went over."""
        if isinstance(step, Plan):
            for one in step.steps:
                self._count(one)
                self._metrics.asked(step.route.name, _label(step, one), Code.OVERLOADED)
                if one is not step.steps[-1]:
                    self._metrics.fell_back(step.route.name, _label(step, one), Code.OVERLOADED)

    def _tell(self, error: NotFound) -> None:
        """Raises it with the routes there are, where it is the name that nobody knows."""
        names = [name for name in sorted(self.file.routes.by_name) if self._shows(name)]
        if "models" in error.detail and names:
            raise error.copy(f"{error.message}; routes here: {names}", routes=names) from error

    def latency_slo(self, name: str) -> float | None:
        """Seconds that a call for `name` may take where it brings no deadline; None where no route says."""
        return self.file.routes.latency_slo(name)

    def stands_for(self, ref: ModelRef) -> ModelRef:
        """The version that describes what `ref` names. Raises NotFound or InvalidInput."""
        return self.file.routes.stands_for(ref)

    def leads_to(self, name: str) -> set[str]:
        """Every name that a call for `name` may reach."""
        return self.file.routes.leads_to(name)

    def batching(self, ref: ModelRef) -> bool:
        """Whether the routes let calls for `ref` share batches. Raises NotFound or InvalidInput."""
        return self.file.routes.batching(ref)

    def end_shadows(self) -> None:
        """None runs or starts from here on: nobody waits for them."""
        self._shadows.end()

    async def _follow(self, plan: Plan, errand: _Errand) -> PredictResult:
        route, started = plan.route, time.monotonic()
        question = errand.question if route.max_rows is None else _bounded(errand.question, route)
        alone = errand.alone or not route.batching
        late = None
        if errand.deadline is None and route.latency_slo is not None:
            late = started + route.latency_slo
        with self._counted(route):
            try:
                async with asyncio.timeout(None if late is None else route.latency_slo):
                    step, result = await self._first(
                        plan, _Errand(question, late or errand.deadline, errand.label, alone)
                    )
            finally:
                errand.question.resolved = question.resolved
        seconds = time.monotonic() - started
        self._metrics.answered(route.name, seconds)
        if plan.shadow is not None and step is plan.steps[0]:  # a substitute's answer says nothing about the target
            self._shadows.ask(route, plan.shadow, question, result, seconds, alone)
        return result

    async def _first(self, plan: Plan, errand: _Errand) -> tuple[Step, PredictResult]:
        """The first step that answers, and its answer."""
        failures: list[ServiceError] = []
        try:
            for step in plan.steps:
                try:
                    return step, await self._ask(plan, step, errand)
                except ServiceError as error:
                    if error.code not in _PASSING_ON or (errand.left is not None and errand.left <= 0):
                        raise
                    failures.append(error)
                    if step is not plan.steps[-1]:
                        self._metrics.fell_back(plan.route.name, _label(plan, step), error.code)
                        self._failures.record(ModelRef(_label(plan, step)), error)
            raise min(failures, key=lambda error: _PASSING_ON.index(error.code))
        finally:
            failures.clear()  # their tracebacks lead back here, and the body would stay until a collection

    async def _ask(self, plan: Plan, step: Step, errand: _Errand) -> PredictResult:
        """One step, counted."""
        route, target = plan.route.name, _label(plan, step)
        try:
            result = await (
                self._average(plan, step, errand) if isinstance(step, Average) else self._take(step, errand)
            )
        except ServiceError as error:
            self._metrics.asked(route, target, error.code)
            raise
        except (TimeoutError, asyncio.CancelledError):
            late = errand.left is not None and errand.left <= 0
            self._metrics.asked(route, target, Code.DEADLINE if late else Code.CANCELLED)
            raise
        self._metrics.asked(route, target, OK)
        return result

    async def _take(self, step: ModelRef | Plan, errand: _Errand) -> PredictResult:
        if isinstance(step, Plan):
            return await self._follow(step, errand)
        alone = errand.alone or not self.file.routes.model_batching(step.name)
        with targets_label(step, errand.label):
            return await self._answering.answer(step, errand.question, errand.deadline, alone)

    async def _take_shadow(
        self, step: ModelRef | Plan, question: Question, deadline: float, alone: bool
    ) -> PredictResult:
        return await self._take(step, _Errand(question, deadline, alone=alone))

    async def _average(self, plan: Plan, average: Average, errand: _Errand) -> PredictResult:
        """All members at once. As soon as too many have failed for the quorum, the others are given up."""
        weights = {asyncio.create_task(self._ask(plan, step, errand)): weight for step, weight in average.members}
        spare = len(weights) - average.quorum
        until = None if errand.left is None or not spare else time.monotonic() + errand.left * _MEMBERS_SHARE
        failures: list[ServiceError] = []
        waiting = set(weights)
        try:
            while waiting and len(failures) <= spare:
                timeout = None if until is None else max(0.0, until - time.monotonic())
                done, waiting = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                failures += [_failure(task) for task in done if task.exception() is not None]
                if not done:  # what is not here by now is late
                    failures += [DeadlineExceeded("a member of the ensemble did not answer in time")] * len(waiting)
                    break
        finally:
            for task in waiting:
                task.cancel()
            if waiting:
                await asyncio.wait(waiting)
        if len(failures) > spare:
            raise next((error for error in failures if isinstance(error, InvalidInput | TooLarge)), failures[0])
        answered = {task: weight for task, weight in weights.items() if task not in waiting and not task.exception()}
        if not sum(answered.values()):
            raise failures[0]
        return probabilities.average([task.result() for task in answered], list(answered.values()))

    @contextmanager
    def _counted(self, route: Route) -> Iterator[None]:
        if route.max_in_flight is not None and self._under_way[route.name] >= route.max_in_flight:
            self._metrics.asked(route.name, "", Code.OVERLOADED)
            most = route.max_in_flight
            raise Overloaded(f"route {route.name!r} has {most} requests under way already; ask again later")
        self._under_way[route.name] += 1
        try:
            yield
        finally:
            self._under_way[route.name] -= 1


def _bounded(question: Question, route: Route) -> Question:
    """The same question, refused where it has more rows than `route` takes."""

    async def read(manifest: Manifest) -> PredictRequest:
        request = await question.request(manifest)
        if route.max_rows is not None and request.rows > route.max_rows:
            most = route.max_rows
            raise TooLarge(f"route {route.name!r} takes {most} rows in one request, got {request.rows}", max_rows=most)
        return request

    return Question(read)


def _failure(task: "asyncio.Task[PredictResult]") -> ServiceError:
    """What a member failed of; a fault of ours is raised as it is."""
    error = task.exception()
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("a member of the ensemble did not answer in time")
    if not isinstance(error, ServiceError):
        assert error is not None
        raise error
    return error


def _label(plan: Plan, step: Step) -> str:
    """A target as configured, for logs and metrics; never what a client wrote."""
    if isinstance(step, Average):
        return "ensemble"
    if plan.exact:
        return "as asked"
    return str(step) if isinstance(step, ModelRef) else step.route.name


def _is_drawn(step: Step) -> bool:
    """Whether chance chose any target of it."""
    if not isinstance(step, Plan):
        return False
    return len(step.route.split) > 1 or any(map(_is_drawn, step.steps))
