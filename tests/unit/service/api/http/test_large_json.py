"""Large bodies, one at a time: who comes next, and who leaves."""

import asyncio
import threading
from functools import partial

import pytest

from service.api.http import large_json

LARGEST, SMALLER = 2**25 - 1, 300_000
SECONDS = 20


def test_a_body_waits_for_one_of_a_flood_of_larger_ones() -> None:
    async def read() -> list[str]:
        order: list[str] = []
        begun, go_on = threading.Event(), threading.Event()

        def first() -> None:
            begun.set()
            assert go_on.wait(SECONDS)

        tasks = [asyncio.create_task(large_json.read(LARGEST, first))]
        assert await asyncio.to_thread(begun.wait, SECONDS)
        later = [*[(LARGEST, f"{index}") for index in range(10)], (SMALLER, "smaller")]
        tasks += [asyncio.create_task(large_json.read(size, partial(order.append, name))) for size, name in later]
        await asyncio.sleep(0)  # all of them stand in line
        go_on.set()
        await asyncio.gather(*tasks)
        return order

    order = asyncio.run(read())
    assert order[0] == "smaller" and order[1:] == [f"{index}" for index in range(10)]


def test_who_leaves_is_not_read_and_the_next_one_is() -> None:
    async def read() -> list[str]:
        order: list[str] = []
        begun, go_on = threading.Event(), threading.Event()

        def first() -> None:
            begun.set()
            assert go_on.wait(SECONDS)

        reading = asyncio.create_task(large_json.read(LARGEST, first))
        assert await asyncio.to_thread(begun.wait, SECONDS)
        waiting = asyncio.create_task(large_json.read(LARGEST, lambda: order.append("left")))
        last = asyncio.create_task(large_json.read(LARGEST, lambda: order.append("last")))
        await asyncio.sleep(0)
        for task in (reading, waiting):  # the first while it is read: its place is not free yet
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert order == [] and not last.done()
        go_on.set()
        await asyncio.wait_for(last, SECONDS)
        return order

    assert asyncio.run(read()) == ["last"]
