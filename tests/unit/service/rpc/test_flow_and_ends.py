"""Windows, however small; clients that stop reading or never finish; and how connections end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest

from service.http2 import frames
from service.http2.frames import ErrorCode, Kind, Setting
from service.http2.messages import message
from service.http2.patience import Due, Limits, Patience
from tests.transport import Running, said, serving, wire


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving(body_seconds=1.5, handshake_seconds=1) as running:
        yield running
        assert await running.still_serves()


async def test_a_tiny_window_gets_everything(running: Running) -> None:
    async with wire(running.port, (Setting.INITIAL_WINDOW_SIZE, 10)) as client:
        await client.call("/test/large", b"1000")
        received, wanted = b"", message(b"x" * 1000)
        while len(received) < len(wanted):
            data, _ = await client.until(Kind.DATA)
            assert len(data[3]) <= 10
            received += data[3]
            client.say(frames.window_update(1, len(data[3])))
        assert received == wanted
        assert said((await client.until(Kind.HEADERS))[0])["grpc-status"] == "0"


async def test_first_windows_may_change_either_way(running: Running) -> None:
    async with wire(running.port, (Setting.INITIAL_WINDOW_SIZE, 100)) as client:
        await client.call("/test/large", b"1000")
        assert len((await client.until(Kind.DATA))[0][3]) == 100
        client.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: 50}), frames.window_update(1, 60))
        assert len((await client.until(Kind.DATA))[0][3]) == 10
        client.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**20}))
        assert len((await client.until(Kind.HEADERS, frames.END_STREAM))[1]) == 1005 - 110


async def test_who_does_not_read_an_answer_holds_up_nobody_and_is_given_up(running: Running) -> None:
    async with wire(running.port, (Setting.INITIAL_WINDOW_SIZE, 100)) as client:
        stuck = await client.call("/test/large", b"1000")
        small = await client.call("/test/echo", b"small")
        assert (await client.until(Kind.HEADERS, frames.END_STREAM))[0][2] == small
        reset, _ = await client.until(Kind.RST_STREAM)
        assert reset[2] == stuck


async def test_who_takes_nothing_from_the_connection_is_ended(running: Running) -> None:
    windows = ((Setting.INITIAL_WINDOW_SIZE, 2**31 - 1),)
    async with wire(running.port, *windows) as client:
        client.say(frames.window_update(0, 2**30))
        client.stop_reading()
        await client.call("/test/large", b"30000000")
        async with asyncio.timeout(20):
            while not running.methods.refused:
                await asyncio.sleep(0.05)
    assert running.methods.refused == ["answer_not_taken"]


async def test_streams_with_all_the_room_there_is_leave_others_their_turn(running: Running) -> None:
    async with wire(running.port, (Setting.INITIAL_WINDOW_SIZE, 2**31 - 1)) as client:
        client.say(frames.window_update(0, 2**31 - 2**16))
        client.stop_reading()
        for _ in range(3):
            await client.call("/test/flood", b"")
        for _ in range(10):
            assert await running.still_serves()


async def test_a_request_without_end_is_given_up(running: Running) -> None:
    async with wire(running.port) as client:
        number = await client.call("/test/echo", None, end=False)
        client.send(number, message(bytes(100))[:5], end=False)
        began = time.monotonic()
        for _ in range(8):
            client.send(number, b"x", end=False)
            await asyncio.sleep(0.2)
        answer, _ = await client.until(Kind.HEADERS, frames.END_STREAM)
        assert said(answer)["grpc-status"] == "4" and 1.4 < time.monotonic() - began < 4


async def test_messages_in_single_bytes(running: Running) -> None:
    async with wire(running.port) as client:
        number = await client.call("/test/echo", None, end=False)
        body = message(bytes(range(256)))
        client.say(*(frames.frame(Kind.DATA, 0, number, body[at : at + 1]) for at in range(len(body))))
        client.send(number, b"", end=True)
        assert (await client.until(Kind.HEADERS, frames.END_STREAM))[1] == body


async def test_a_stream_may_send_more_as_its_handler_reads(running: Running) -> None:
    async with wire(running.port) as client:
        number = await client.call("/test/join", None, end=False)
        part = message(bytes(2**18))
        for _ in range(12):
            client.send(number, part, end=False)
            update, _ = await client.until(Kind.WINDOW_UPDATE, number=number)
            assert frames.uint32(update[3]) == len(part)
        client.say(frames.reset(number, ErrorCode.CANCEL))


@pytest.mark.parametrize("said_so_far", [(), (frames.PREFACE[:10],), (frames.PREFACE,)])
async def test_who_never_speaks_is_hung_up_on(running: Running, said_so_far: tuple[bytes, ...]) -> None:
    began = time.monotonic()
    async with wire(running.port, preface=said_so_far) as client:
        await client.end()
    assert 0.9 < time.monotonic() - began < 4 and running.methods.refused == ["silent"]


async def test_connections_are_counted() -> None:
    async with serving(connections=2) as running:
        async with wire(running.port) as first, wire(running.port):
            await first.call("/test/echo", b"")
            await first.until(Kind.HEADERS, frames.END_STREAM)
            async with wire(running.port) as third:
                assert [kind for kind, *_ in await third.end()] == [Kind.GOAWAY]
            assert running.methods.refused == ["too_many"]
            await first.call("/test/echo", b"")
            await first.until(Kind.HEADERS, frames.END_STREAM)
        await asyncio.sleep(0.1)
        assert await running.still_serves()


async def test_stopping_answers_what_was_sent_and_ends_streams() -> None:
    async with serving() as running, wire(running.port) as client, wire(running.port) as idle:
        client.say(frames.window_update(0, 2**20))
        slow = await client.call("/test/sleep", b"0.5")
        watch = await client.call("/test/flood", b"")
        await client.until(Kind.DATA)
        stopping = asyncio.create_task(running.server.stop(10))
        goaway, _ = await client.until(Kind.GOAWAY)
        assert frames.uint32(goaway[3]) == 2**31 - 1, "not yet: more may be on its way"
        late = await client.call("/test/echo", b"was on its way")
        ping, _ = await client.until(Kind.PING)
        client.say(frames.frame(Kind.PING, frames.ACK, 0, ping[3]))
        goaway, _ = await client.until(Kind.GOAWAY)
        assert frames.uint32(goaway[3]) == late
        await client.call("/test/echo", b"too late")
        ends = {frame[2]: said(frame) for frame in await client.end() if frame[0] == Kind.HEADERS}
        assert ends[slow]["grpc-status"] == "0" and ends[watch]["grpc-status"] == "14"
        assert [kind for kind, *_ in await idle.end()][-1] == Kind.GOAWAY
        async with asyncio.timeout(2):
            await stopping
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", running.port)


async def test_stopping_waits_no_longer_than_it_may() -> None:
    async with serving() as running, wire(running.port) as client:
        await client.call("/test/sleep", b"30")
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await running.server.stop(0.5)
        assert 0.4 < time.monotonic() - began < 2
        await client.end()
        assert running.methods.cancelled == ["sleep"]


async def test_a_client_of_grpcs_own_loses_nothing_while_we_stop() -> None:
    """It asks without pause. Whatever fails is something that it may send elsewhere."""
    answered, failed = 0, list[grpc.StatusCode]()

    async def ask(channel: Any) -> None:
        nonlocal answered
        while not failed:
            try:
                await channel.unary_unary("/test/sleep")(b"0.01", timeout=5)
                answered += 1
            except grpc.aio.AioRpcError as error:
                failed.append(error.code())

    async with serving() as running, grpc.aio.insecure_channel(running.address) as channel:
        asking = [asyncio.create_task(ask(channel)) for _ in range(8)]
        await asyncio.sleep(0.5)
        before = answered
        await running.server.stop(5)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*asking), 5)
        ends = [end for end in running.methods.ended if end[1] == "OK"]
        assert before > 50 and answered == len(ends), "nothing was done for nobody"
        assert set(failed) <= {grpc.StatusCode.UNAVAILABLE}


def test_silence_is_asked_about_and_then_believed() -> None:
    patience = Patience(Limits(1, 1, 1, 1, header_seconds=10, body_seconds=20), now=100)
    assert patience.due(109) is Due.NOTHING and patience.due(111) is Due.SILENT
    patience.greeted()
    assert patience.due(159) is Due.NOTHING and patience.due(161) is Due.PING
    assert patience.due(180) is Due.NOTHING and patience.due(182) is Due.GONE
    patience.heard = 182.0
    assert patience.due(242) is Due.NOTHING and patience.due(243) is Due.PING
    patience.stuck = 243.0
    assert patience.due(262) is Due.NOTHING and patience.due(264) is Due.STUCK


def test_pings_are_borne_while_there_is_work() -> None:
    patience = Patience(Limits(1, 1, 1, 1, 10, 20), now=100)
    assert [patience.bears_ping() for _ in range(4)] == [True, True, True, False]
    for _ in range(10):
        patience.forgive()
        assert patience.bears_ping() and patience.bears_ping()
    for minute in range(10):
        patience.forgive()
        patience.heard = 200.0 + 11 * minute
        assert patience.bears_ping()
