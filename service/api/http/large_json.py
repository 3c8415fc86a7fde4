"""Large JSON bodies are read beside the event loop, one at a time.

Two threads would read none of them sooner, and the memory of one is bounded, not that of many.
"""

import asyncio
import gc
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from service.api.http.json_values import LARGE
from service.errors import ServiceError
from service.host.priority import give_way

_T = TypeVar("_T")


async def read(size: int, work: Callable[[], _T]) -> _T:
    """What `work` makes of a body of `size` bytes. Raises what it raises; who is cancelled leaves the queue."""
    if size <= LARGE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_reader(), _work_uncollected, work)


@cache
def _reader() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="json", initializer=give_way)


def _work_uncollected(work: Callable[[], _T]) -> _T:
    """Millions of lists that are about to go are no garbage, and to look at all of them halts every thread."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return work()
    except ServiceError as error:
        traceback.clear_frames(error.__traceback__)  # or they stay until the client has its answer
        raise
    finally:
        if collecting:
            gc.enable()
