"""The threads that models run on: one pool for all versions of a process. Each version uses at most its slots."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from threading import Thread
from typing import ParamSpec, TypeVar

from service.backends.base import Timed
from service.host.priority import give_way
from service.types import Tensors

_MOST = 256  # started as needed: versions take turns at cores, so there are seldom more threads than cores

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """One version's part of the pool.

    A call whose caller has left runs to its end and keeps its slot until then: a model that hangs hangs alone.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free = asyncio.Semaphore(slots)

    async def run(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """`call`'s result, or whatever it raises."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future = _pool().submit(call, *arguments, **named)
        future.add_done_callback(lambda _: self._ended(loop))
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Returns when the last call has ended."""
        for _ in range(self._slots):
            await self._free.acquire()

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(self._free.release)


def run_timed(run: Callable[..., Tensors], *arguments: object) -> Timed:
    """Calls `run(*arguments)` and times it; for a runner's thread."""
    began = time.monotonic()
    outputs = Timed(run(*arguments))
    outputs.seconds = time.monotonic() - began
    return outputs


async def run_in_thread(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """`call`'s result, or whatever it raises, from a thread of its own: a call that hangs takes no other's thread."""
    future = Future[T]()

    def work() -> None:
        try:
            future.set_result(call(*arguments, **named))
        except BaseException as error:
            future.set_exception(error)

    future.set_running_or_notify_cancel()  # a caller that leaves does not end the call
    Thread(target=work, name="load", daemon=True).start()
    return await asyncio.wrap_future(future)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST, thread_name_prefix="model", initializer=give_way)
