"""Identical requests under way share one computation, decoding included. Off by default.

    caller ──┐
    caller ──┼─> share(key) ──> one run, in a task of its own ──> the answer, or the failure, for every caller
    caller ──┘

A caller that leaves (cancelled, out of time) does not disturb the others. The run ends when no caller waits for it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service.errors import DeadlineExceeded, Overloaded, ServiceError
from service.types import Array, PredictRequest

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Run(Generic[T]):
    task: "asyncio.Task[T]"
    deadline: float | None
    waiting: int = 0


class Coalescing(Generic[T]):
    """Owns the runs under way, by key."""

    def __init__(self) -> None:
        self._runs: dict[Hashable, _Run[T]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def under_way(self, key: Hashable) -> bool:
        return key in self._runs

    async def share(
        self, key: Hashable, deadline: float | None, run: Callable[[], Coroutine[Any, Any, T]]
    ) -> tuple[T, bool]:
        """What `run` returns or raises; or, with True, what the run of the same key that is under way does.

        `deadline` is that of `run`. A run that fails for its first caller's lack of time is tried once more by callers
        that have more time.
        """
        for _ in range(2):
            shared = self._runs.get(key)
            joined = shared is not None
            if shared is None:
                shared = self._start(key, deadline, run)
            try:
                return await self._wait(key, shared), joined
            except (DeadlineExceeded, Overloaded):
                if not joined or shared.deadline is None or (deadline is not None and deadline <= shared.deadline):
                    raise
        return await run(), False

    def _start(self, key: Hashable, deadline: float | None, run: Callable[[], Coroutine[Any, Any, T]]) -> _Run[T]:
        shared = self._runs[key] = _Run(asyncio.get_running_loop().create_task(run()), deadline)
        shared.task.add_done_callback(lambda _: self._finish(key, shared))
        return shared

    async def _wait(self, key: Hashable, shared: _Run[T]) -> T:
        shared.waiting += 1
        try:
            await asyncio.wait((shared.task,))
        finally:
            shared.waiting -= 1
            if not shared.waiting and not shared.task.done():
                self._forget(key, shared)  # a cancelled run must not be joined
                shared.task.cancel()
        error = None if shared.task.cancelled() else shared.task.exception()
        if isinstance(error, ServiceError):
            # A copy: one exception raised in several tasks would collect all their tracebacks.
            raise error.copy() from error
        return shared.task.result()

    def _finish(self, key: Hashable, shared: _Run[T]) -> None:
        self._forget(key, shared)
        if not shared.task.cancelled():
            shared.task.exception()  # retrieved: the last caller may leave as the run fails

    def _forget(self, key: Hashable, shared: _Run[T]) -> None:
        if self._runs.get(key) is shared:
            del self._runs[key]


def identity(request: PredictRequest) -> Hashable:
    """Equal for requests with the same bytes, signature and outputs. Encoded images are not copied."""
    inputs = tuple((alias, _content(array)) for alias, array in sorted(request.inputs.items()))
    return request.signature, tuple(sorted(request.outputs)), request.features, request.candidates, inputs


def _content(array: Array) -> Hashable:
    values = tuple(array.ravel().tolist()) if array.dtype == object else array.tobytes()
    return array.dtype.str, array.shape, values
