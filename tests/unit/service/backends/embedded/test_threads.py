"""The threads that models run on."""

import asyncio
import threading

import pytest

from service.backends.embedded import threads
from service.backends.embedded.threads import Threads


async def test_many_versions_share_the_threads_of_those_that_run() -> None:
    threads._pool.cache_clear()  # other tests' threads would take their turns
    before = threading.active_count()
    names = set()
    for _ in range(200):
        names.add(await Threads(2).run(lambda: threading.current_thread().name))
    assert len(names) <= 3 and threading.active_count() <= before + 3


async def test_a_version_takes_no_more_threads_than_it_has_slots_and_others_go_on() -> None:
    """Its callers may have gone long ago."""
    hung, other, let_go = Threads(2), Threads(1), threading.Event()
    started = [asyncio.Event() for _ in range(2)]
    loop = asyncio.get_running_loop()

    def hang(number: int) -> None:
        loop.call_soon_threadsafe(started[number].set)
        let_go.wait(30)

    calls = [asyncio.create_task(hung.run(hang, number)) for number in range(2)]
    for event in started:
        await asyncio.wait_for(event.wait(), 10)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    third = asyncio.create_task(hung.run(lambda: "ran"))
    assert await asyncio.wait_for(other.run(lambda: "ran"), 10) == "ran"
    assert not third.done()
    closing = asyncio.create_task(hung.close())
    let_go.set()
    assert await asyncio.wait_for(third, 10) == "ran"
    await asyncio.wait_for(closing, 10)


async def test_what_a_call_raises_arrives_and_frees_its_slot() -> None:
    threads = Threads(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
    await asyncio.wait_for(threads.close(), 10)
