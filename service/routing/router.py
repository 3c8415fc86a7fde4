"""Which targets a call has, and whether any of them would let it in: plans are made here, and carried out in
`execution`.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace

from service.errors import Code, InvalidInput, NotFound, ServiceError
from service.models.executor import Admission, Answering, Turned
from service.observability.context import RequestContext
from service.observability.metrics.registry import Metrics
from service.repository.manifest import Manifest
from service.routing.execution import Errand, Execution, find_label
from service.routing.plan import Average, Plan, Routes, Step
from service.routing.routes_file import RoutesFile
from service.types import Caller, ModelRef, PredictRequest, Tensors


class Router:
    """`shows` tells whether a caller may read a name in an error."""

    def __init__(
        self,
        answering: Answering,
        file: RoutesFile,
        metrics: Metrics,
        shows: Callable[[Caller, str], bool] = lambda caller, name: True,
    ) -> None:
        self._answering, self.file, self._metrics, self._shows = answering, file, metrics.routes, shows
        self._execution = Execution(answering, file, metrics.routes)
        self._chance = random.Random()

    @property
    def routes(self) -> Routes:
        """Those in force."""
        return self.file.routes

    async def admit(self, context: RequestContext, ref: ModelRef) -> Admission:
        """What `ref` means by the routes in force, once a target has let the request in.

        Raises ServiceError, and TimeoutError where a route's own deadline ends it.
        """
        routes = self.routes
        try:
            plan = routes.plan(ref, context.routing_key, self._chance)
            if isinstance(plan, ModelRef):
                return await self._execution.admit(plan, Errand(context, ref.label))
        except NotFound as error:
            self._name_routes(context.caller, error)
            raise
        try:
            return await self._execution.admit(plan, Errand(context, ref.label))
        except InvalidInput as error:
            if ref.label is None or "labels" not in error.detail:
                raise
            known = sorted({*routes.labels_of(ref.name), *error.detail["labels"]})
            raise InvalidInput(
                f"{ref.name!r} has no version label {ref.label!r}; labels here: {known}", labels=known
            ) from error

    async def preprocess(self, manifest: Manifest, request: PredictRequest) -> Tensors:
        """What that version would be given for `request`. Raises ServiceError."""
        return await self._answering.preprocess(manifest, request)

    def find_overload(self, context: RequestContext, ref: ModelRef) -> Turned | None:
        """Why `admit` would refuse a call now, for want of time and whoever is asked, and the version that would; None
        where it would not, or where only asking can tell. Counts what it refuses as `admit` does.
        """
        try:
            plan = self.routes.plan(ref, context.routing_key, self._chance)
        except ServiceError:
            return None
        if not context.routing_key and _is_drawn(plan):
            return None  # `admit` draws anew: a call must not get two chances at a busy target
        refused = self._find_refusals(plan, context)
        if not refused:
            return None
        for turned in refused:
            turned.count()
        self._count(plan)
        return refused[0]

    def _find_refusals(self, step: Step, context: RequestContext) -> list[Turned]:
        """Of every target there is; none where one of them lets the call in, and then nobody behind that one is asked
        and keeps a place for it.
        """
        if isinstance(step, ModelRef):
            turned = self._answering.find_overload(context, step)
            return [] if turned is None else [turned]
        if isinstance(step, Average):
            return []
        if context.deadline is None and step.route.latency_slo is not None:
            context = replace(context, deadline=time.monotonic() + step.route.latency_slo)
        refused: list[Turned] = []
        for one in step.steps:
            if not (more := self._find_refusals(one, context)):
                return []
            refused += more
        return refused

    def _count(self, step: Step) -> None:
        """A refusal of every target there is, on each route it went over."""
        if isinstance(step, Plan):
            for one in step.steps:
                self._count(one)
                self._metrics.asked(step.route.name, find_label(step, one), Code.OVERLOADED)
                if one is not step.steps[-1]:
                    self._metrics.fell_back(step.route.name, find_label(step, one), Code.OVERLOADED)

    def _name_routes(self, caller: Caller, error: NotFound) -> None:
        """Raises it with the routes there are, where it is the name that nobody knows."""
        names = [name for name in sorted(self.routes.by_name) if self._shows(caller, name)]
        if "models" in error.detail and names:
            raise error.copy(f"{error.message}; routes here: {names}", routes=names) from error

    def end_shadows(self) -> None:
        """None runs or starts from here on: nobody waits for them."""
        self._execution.shadows.end()


def _is_drawn(step: Step) -> bool:
    """Whether chance chose any target of it."""
    if not isinstance(step, Plan):
        return False
    return len(step.route.split) > 1 or any(map(_is_drawn, step.steps))
