"""Calls as gRPC's own client makes them: messages, metadata, statuses, deadlines, streams."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from service.http2.streams import Stream
from service.rpc.transport.unary import UnaryCall
from tests.transport import Running, serving


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving() as running:
        yield running


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(running.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 2**14 - 5, 2**14 - 4, 2**16, 2**20])
async def test_messages_of_any_size(channel: Any, size: int) -> None:
    asked = channel.unary_unary("/test/echo")
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert await asyncio.gather(*(asked(message, timeout=30) for _ in range(4))) == [message] * 4


async def test_replies_far_beyond_windows(channel: Any) -> None:
    assert len(await channel.unary_unary("/test/large")(b"30000000", timeout=30)) == 30_000_000


@pytest.mark.parametrize("coding", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages(running: Running, channel: Any, coding: grpc.Compression) -> None:
    assert await channel.unary_unary("/test/echo")(b"hello" * 1000, compression=coding) == b"hello" * 1000
    assert running.methods.ended == [("/test/echo", "OK", 5000, 5000)]


@pytest.mark.parametrize("coding", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_a_message_that_is_too_large(channel: Any, coding: grpc.Compression) -> None:
    failed = await failure(channel.unary_unary("/test/echo")(bytes(2**20 + 1), compression=coding))
    assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (failed.details() or "")


async def test_metadata_both_ways(channel: Any) -> None:
    sent = (("x-text", "a, b"), ("x-text", "again"), ("x-bytes-bin", b"\0\xff\xfe"))
    call = channel.unary_unary("/test/metadata")(b"", metadata=sent)
    seen = eval(await call)
    assert [pair for pair in seen if pair[0].startswith("x-")] == list(sent)
    assert not [name for name, _ in seen if name.startswith((":", "grpc-")) or name == "te"]
    assert dict(await call.initial_metadata()) == {"first": "1", "first-bin": b"\xff\0"}
    assert dict(await call.trailing_metadata()) == {"last": "2", "last-bin": b"\xfe\0\1"}


@pytest.mark.parametrize("says", ["", "100 % wrong", "größer\nthan\tallowed", "😀" * 300])
async def test_what_a_handler_aborts_with(channel: Any, says: str) -> None:
    failed = await failure(channel.unary_unary("/test/abort")(says.encode()))
    assert failed.code() is grpc.StatusCode.FAILED_PRECONDITION and failed.details() == says
    assert dict(failed.trailing_metadata()) == {"why": "because"}


async def test_what_a_handler_did_not_expect(channel: Any, caplog: pytest.LogCaptureFixture) -> None:
    failed = await failure(channel.unary_unary("/test/fail")(b""))
    assert failed.code() is grpc.StatusCode.UNKNOWN and failed.details() == "unexpected ZeroDivisionError"
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    ("path", "message", "code", "says"),
    [
        ("/test/nothing", b"", grpc.StatusCode.UNIMPLEMENTED, "Method not found"),
        ("nothing", b"", grpc.StatusCode.UNIMPLEMENTED, "Method not found"),
        ("/test/missing", b"", grpc.StatusCode.UNIMPLEMENTED, "not here"),
        ("/test/strict", b"\xff", grpc.StatusCode.INTERNAL, "no message of its method"),
    ],
)
async def test_calls_that_fail(channel: Any, path: str, message: bytes, code: grpc.StatusCode, says: str) -> None:
    failed = await failure(channel.unary_unary(path)(message))
    assert failed.code() is code and says in (failed.details() or "")


async def test_a_deadline_is_known_and_ends_the_handler(running: Running, channel: Any) -> None:
    assert await channel.unary_unary("/test/remaining")(b"") == b"None"
    assert 25 < float(await channel.unary_unary("/test/remaining")(b"", timeout=30)) < 31
    failed = await failure(channel.unary_unary("/test/sleep")(b"30", timeout=0.3))
    assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await ends(running, ("/test/sleep", 1))
    assert running.methods.cancelled == ["sleep"]


async def ends(running: Running, *wanted: tuple[str, int]) -> None:
    async with asyncio.timeout(10):
        while not all(sum(end[0] == path for end in running.methods.ended) >= count for path, count in wanted):
            await asyncio.sleep(0.01)


async def begun(running: Running, calls: int) -> None:
    async with asyncio.timeout(10):
        while running.methods.sleeping < calls:
            await asyncio.sleep(0.01)


async def test_a_call_that_is_cancelled_ends_its_handler(running: Running, channel: Any) -> None:
    call = channel.unary_unary("/test/sleep")(b"30")
    await begun(running, 1)
    call.cancel()
    await ends(running, ("/test/sleep", 1))
    assert running.methods.cancelled == ["sleep"]
    assert running.methods.ended == [("/test/sleep", "CANCELLED", 2, 0)]


async def test_a_connection_that_is_lost_ends_its_handlers(running: Running) -> None:
    async with grpc.aio.insecure_channel(running.address) as channel:
        asked: Any = channel.unary_unary("/test/sleep")
        calls = [asked(b"30") for _ in range(5)]
        await begun(running, 5)
    await ends(running, ("/test/sleep", 5))
    assert running.methods.cancelled == ["sleep"] * 5
    await asyncio.gather(*calls, return_exceptions=True)


async def test_calls_that_are_over_leave_nothing_to_collect(channel: Any) -> None:
    """Cycles of references cost a seventh of the throughput."""
    asked = channel.unary_unary("/test/echo")
    await asked(b"")
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await asked(b"", timeout=10)
        assert sum(isinstance(one, UnaryCall | Stream) for one in gc.get_objects()) <= 2
    finally:
        gc.enable()


async def test_streams_each_way(channel: Any) -> None:
    assert [reply async for reply in channel.unary_stream("/test/count")(b"100")] == [b"%d" % n for n in range(100)]
    several = [bytes([number]) * 200_000 for number in range(20)]
    assert [reply async for reply in channel.stream_stream("/test/echoes")(iter(several))] == several
    assert await channel.stream_unary("/test/join")(iter(several)) == b"".join(several)
    assert await channel.stream_unary("/test/join")(iter(())) == b""


async def test_a_stream_of_replies_waits_for_its_reader(running: Running, channel: Any) -> None:
    call = channel.unary_stream("/test/flood")(b"")
    for _ in range(50):
        assert len(await call.read()) == 2**16
    call.cancel()
    async with asyncio.timeout(10):
        while running.methods.cancelled != ["flood"]:
            await asyncio.sleep(0.01)
