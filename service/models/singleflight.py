"""Identical requests under way share one computation, decoding included. Off unless asked for.

    caller ──┐
    caller ──┼─> share(key) ──> one run, in a task of its own ──> everybody's answer, or everybody's failure
    caller ──┘

A caller that leaves (cancelled, out of time) leaves the others alone; the run ends when nobody waits for it.
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
        """What `run` returns or raises, or what the run of the same key under way does (then True).

        `deadline` is that of `run`: a run that fails for its own caller's lack of time says nothing to those who have
        more, and they try once again.
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
        shared.task.add_done_callback(lambda _: self._ended(key, shared))
        return shared

    async def _wait(self, key: Hashable, shared: _Run[T]) -> T:
        shared.waiting += 1
        try:
            await asyncio.wait((shared.task,))
        finally:
            shared.waiting -= 1
            if not shared.waiting and not shared.task.done():
                self._forget(key, shared)  # nobody may join what is being cancelled
                shared.task.cancel()
        error = None if shared.task.cancelled() else shared.task.exception()
        if isinstance(error, ServiceError):
            # An exception of one's own: raised in several tasks, one would collect all their tracebacks.
            raise error.copy() from error
        return shared.task.result()

    def _ended(self, key: Hashable, shared: _Run[T]) -> None:
        self._forget(key, shared)
        if not shared.task.cancelled():
            shared.task.exception()  # retrieved: where the last caller leaves as it fails, nobody is there to ask

    def _forget(self, key: Hashable, shared: _Run[T]) -> None:
        if self._runs.get(key) is shared:
            del self._runs[key]


def identity(request: PredictRequest) -> Hashable:
    """Equal for requests that ask the same of the same bytes. Encoded images are not copied."""
    inputs = tuple((alias, _content(array)) for alias, array in sorted(request.inputs.items()))
    return request.signature, tuple(sorted(request.outputs)), inputs


def _content(array: Array) -> Hashable:
    values = tuple(array.ravel().tolist()) if array.dtype == object else array.tobytes()
    return array.dtype.str, array.shape, values
