"""Calls asked a second time, of a target on trial, after their answer is on its way: compared, never waited for."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from service.errors import ServiceError
from service.observability.context import RequestContext, Trace
from service.observability.metrics.routes import RouteMetrics
from service.routing import ensemble as probabilities
from service.routing.plan import Plan, Shadow
from service.types import ModelRef, PredictRequest, PredictResult

_log = logging.getLogger(__name__)

Predict = Callable[[RequestContext, ModelRef | Plan, PredictRequest, bool], Awaitable[PredictResult]]
"""Asks a target; True where it may share no batch."""


class Shadows:
    """Owns the shadows under way: at most `max_in_flight` of each route; past it they are dropped and counted."""

    def __init__(self, predict: Predict, metrics: RouteMetrics) -> None:
        self._predict, self._metrics = predict, metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[str] = Counter()
        self._ended = False

    def start(
        self,
        context: RequestContext,
        plan: Plan,
        request: PredictRequest,
        answer: PredictResult,
        seconds: float,
        alone: bool,
    ) -> None:
        """Returns at once. `answer` took `seconds`; `alone` says that the shadow may share no batch."""
        route, shadow, step = plan.route.name, plan.route.shadow, plan.shadow
        assert shadow is not None and step is not None
        if self._ended:
            return
        if self._under_way[route] >= shadow.max_in_flight:
            self._metrics.shadow(route, str(shadow.target), "dropped")
            return
        self._under_way[route] += 1
        # A trace of its own: which version the shadow found is not what the client's request found.
        own = RequestContext(Trace(context.protocol), deadline=time.monotonic() + shadow.deadline)
        predict = partial(self._predict, own, step, request, alone)
        task = asyncio.get_running_loop().create_task(self._run(route, shadow, predict, answer, seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Cancels all; none starts any more."""
        self._ended = True
        for task in self._tasks:
            task.cancel()

    async def _run(
        self,
        route: str,
        shadow: Shadow,
        predict: Callable[[], Awaitable[PredictResult]],
        answer: PredictResult,
        seconds: float,
    ) -> None:
        started = time.monotonic()
        target = str(shadow.target)
        try:
            async with asyncio.timeout(shadow.deadline):
                other = await predict()
            if other.served_by == answer.served_by:
                self._metrics.shadow(route, target, "same")
                return
            comparison = probabilities.compare(answer, other)
            if comparison is None:
                self._metrics.shadow(route, target, "incomparable")
                return
            self._metrics.compared(
                route,
                target,
                rows=comparison.rows,
                agree=comparison.agree,
                most=comparison.most,
                average=comparison.average,
                ratio=(time.monotonic() - started) / max(seconds, 1e-6),
            )
        except (ServiceError, TimeoutError) as error:
            self._metrics.shadow(route, target, "failed")
            _log.debug("shadow %s of route %s failed: %s", target, route, error)
        except Exception:  # a fault of ours, on nobody's way
            self._metrics.shadow(route, target, "failed")
            _log.exception("shadow %s of route %s failed", target, route)
        finally:
            self._under_way[route] -= 1
