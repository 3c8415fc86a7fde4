"""Large JSON bodies are read beside the event loop, one at a time.

Two threads would read none of them sooner, and the memory of one is bounded, not that of many. Bodies of one size take
turns with those of others, by bytes read: a few that unpack to the limit take seconds each, and a short one waits for
one of them.
"""

import asyncio
import gc
import traceback
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import TypeVar
from weakref import WeakKeyDictionary

from service.api.http.json_values import LARGE
from service.errors import ServiceError
from service.host.fair_queue import Places, Turns
from service.host.priority import give_way

_T = TypeVar("_T")

_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, defaultdict[int, Turns]] = WeakKeyDictionary()


async def read(size: int, work: Callable[[], _T]) -> _T:
    """What `work` makes of a body of `size` bytes. Raises what it raises; who is cancelled leaves the queue."""
    if size <= LARGE:
        return work()
    loop = asyncio.get_running_loop()
    turns = _line(loop)[size.bit_length()]
    await turns.take(size)

    def leave(_: Future[_T]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(turns.leave)

    reading = _reader().submit(_work_uncollected, work)
    reading.add_done_callback(leave)  # the thread goes on where its caller has left, and is not free before it is done
    return await asyncio.wrap_future(reading)


def _line(loop: asyncio.AbstractEventLoop) -> defaultdict[int, Turns]:
    """The turns of bodies of each size, by the length of that number in bits."""
    if loop not in _lines:
        place = Places(1)
        _lines[loop] = defaultdict(lambda: Turns(place))
    return _lines[loop]


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
