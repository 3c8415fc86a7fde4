"""Who is cancelled with a connection."""

import asyncio

import pytest

from service.api.http.disconnect import Disconnect
from service.errors import Cancelled


async def wait_inside(disconnect: Disconnect, inside: asyncio.Event) -> str:
    with disconnect.cancels_task():
        inside.set()
        await asyncio.Event().wait()
    return "done"


async def test_a_lost_connection_ends_what_runs_for_it() -> None:
    disconnect, inside = Disconnect(), asyncio.Event()
    task = asyncio.create_task(wait_inside(disconnect, inside))
    await inside.wait()
    disconnect.set_lost()
    with pytest.raises(Cancelled):
        await task
    assert not task.cancelled() and task.cancelling() == 0


async def test_one_that_was_lost_before_ends_it_at_once() -> None:
    disconnect = Disconnect()
    disconnect.set_lost()
    with pytest.raises(Cancelled):
        await asyncio.create_task(wait_inside(disconnect, asyncio.Event()))


async def test_whoever_else_cancels_it_is_obeyed() -> None:
    for lost_too in (False, True):
        disconnect, inside = Disconnect(), asyncio.Event()
        task = asyncio.create_task(wait_inside(disconnect, inside))
        await inside.wait()
        task.cancel()
        if lost_too:
            disconnect.set_lost()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_comes_after_goes_on() -> None:
    disconnect = Disconnect()

    async def answer() -> str:
        with disconnect.cancels_task():
            await asyncio.sleep(0)
        disconnect.set_lost()
        await asyncio.sleep(0)
        return "written"

    assert await asyncio.create_task(answer()) == "written"
