"""Clients that break HTTP/2 or stretch it: each is sent away with a reason, and nobody else notices."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import hpack
import pytest

from service.http2 import frames
from service.http2 import headers as blocks
from service.http2.frames import ErrorCode, Kind, Setting
from service.http2.messages import PREFIX, message
from tests.transport import Running, Wire, request, said, serving, wire


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving() as running:
        yield running
        assert await running.still_serves()


async def sent_away(client: Wire) -> tuple[ErrorCode, str]:
    """Why, from the GOAWAY before the server hangs up."""
    goaways = [payload for kind, _, _, payload in await client.end() if kind == Kind.GOAWAY]
    assert goaways, "it hung up without a word"
    return ErrorCode(frames.uint32(goaways[-1], 4)), goaways[-1][8:].decode()


HEAD = request("/test/echo")
OPEN = frames.headers(0, 1, HEAD)
WHOLE = frames.headers(0, 1, request("/test/sleep")) + frames.frame(Kind.DATA, 1, 1, message(b"9"))
BOMB = hpack.Encoder().encode([("x" * 50, "y" * 3900)]) + b"\xbe" * 16_000

BREAKS: dict[str, tuple[bytes, ErrorCode]] = {
    "a frame larger than allowed": (bytes([255, 255, 255, 0, 0, 0, 0, 0, 1]), ErrorCode.FRAME_SIZE_ERROR),
    "continuations without end": (
        frames.frame(Kind.HEADERS, 0, 1, HEAD) + frames.frame(Kind.CONTINUATION, 0, 1) * 100,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "continuations too large": (
        frames.frame(Kind.HEADERS, 0, 1, HEAD) + frames.frame(Kind.CONTINUATION, 0, 1, bytes(2**14)) * 5,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a continuation of nothing": (frames.frame(Kind.CONTINUATION, 4, 1, HEAD), ErrorCode.PROTOCOL_ERROR),
    "an interrupted header block": (
        frames.frame(Kind.HEADERS, 0, 1, HEAD) + frames.frame(Kind.PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "headers that unpack to megabytes": (frames.headers(1, 1, BOMB), ErrorCode.ENHANCE_YOUR_CALM),
    "headers that are none": (frames.headers(1, 1, b"\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    "an even stream": (frames.headers(0, 2, HEAD), ErrorCode.PROTOCOL_ERROR),
    "stream 0": (frames.headers(0, 0, HEAD), ErrorCode.PROTOCOL_ERROR),
    "a push": (frames.frame(Kind.PUSH_PROMISE, 4, 1, bytes(4) + HEAD), ErrorCode.PROTOCOL_ERROR),
    "DATA of an idle stream": (frames.frame(Kind.DATA, 0, 7, b"x"), ErrorCode.PROTOCOL_ERROR),
    "DATA of stream 0": (frames.frame(Kind.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "a reset of an idle stream": (frames.reset(7, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    "a window of an idle stream": (frames.window_update(7, 1), ErrorCode.PROTOCOL_ERROR),
    "DATA after the end": (WHOLE + frames.frame(Kind.DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    "HEADERS after the end": (WHOLE + frames.headers(1, 1, HEAD), ErrorCode.STREAM_CLOSED),
    "HEADERS in between": (OPEN + frames.headers(0, 1, HEAD), ErrorCode.STREAM_CLOSED),
    "more padding than frame": (OPEN + frames.frame(Kind.DATA, 8, 1, b"\xff"), ErrorCode.PROTOCOL_ERROR),
    "padding without its length": (OPEN + frames.frame(Kind.DATA, 8, 1), ErrorCode.FRAME_SIZE_ERROR),
    "a window of nothing": (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "a stream's window of nothing": (OPEN + frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
    "a window that overflows": (frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "a stream's window that overflows": (OPEN + frames.window_update(1, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "a window cut short": (frames.frame(Kind.WINDOW_UPDATE, 0, 0, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
    "settings cut short": (frames.frame(Kind.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "first windows too large": (frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
    "frames too small": (frames.settings({Setting.MAX_FRAME_SIZE: 1}), ErrorCode.PROTOCOL_ERROR),
    "a ping of a wrong size": (frames.frame(Kind.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "pings for nothing": (frames.frame(Kind.PING, 0, 0, bytes(8)) * 10, ErrorCode.ENHANCE_YOUR_CALM),
    "settings for nothing": (frames.settings({}) * 2000, ErrorCode.ENHANCE_YOUR_CALM),
}


@pytest.mark.parametrize("what", BREAKS)
async def test_a_broken_protocol_ends_the_connection(running: Running, what: str) -> None:
    sent, code = BREAKS[what]
    async with wire(running.port) as client:
        client.say(sent)
        assert (await sent_away(client))[0] is code
    assert running.methods.refused == ["broken_protocol"]


@pytest.mark.parametrize("preface", [b"\x16\x03\x01 rubbish", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!", b"\0" * 100])
async def test_rubbish_is_no_preface(running: Running, preface: bytes) -> None:
    async with wire(running.port, preface=(preface,)) as client:
        assert (await sent_away(client))[0] is ErrorCode.PROTOCOL_ERROR


async def test_settings_come_first(running: Running) -> None:
    async with wire(running.port, preface=(frames.PREFACE, OPEN)) as client:
        assert (await sent_away(client))[0] is ErrorCode.PROTOCOL_ERROR


async def test_http1_is_told_where_it_is(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"this port speaks gRPC" in answer and b"--http-port" in answer
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        blocks.block([(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "x")]),
        blocks.block([(":method", "POST"), (":path", "/"), (":scheme", "http"), ("content-type", "application/json")]),
        blocks.block([(":method", "POST"), (":path", "/"), ("content-type", "application/grpc-web")]),
        blocks.block([]),
    ],
)
async def test_other_uses_of_http2_are_415(running: Running, head: bytes) -> None:
    async with wire(running.port) as client:
        client.say(frames.headers(frames.END_STREAM, 1, head))
        answer, _ = await client.until(Kind.HEADERS, frames.END_STREAM)
        assert said(answer)[":status"] == "415"


async def test_large_metadata_end_their_call_alone(running: Running) -> None:
    async with wire(running.port) as client:
        for _ in range(2):
            number = await client.call("/test/echo", b"", ("x-large", "y" * 5000))
            answer, _ = await client.until(Kind.HEADERS, frames.END_STREAM, number)
            assert said(answer)["grpc-status"] == "8"
            number = await client.call("/test/echo", b"small")
            answer, data = await client.until(Kind.HEADERS, frames.END_STREAM, number)
            assert said(answer)["grpc-status"] == "0" and data == message(b"small")


async def test_more_streams_than_allowed_are_refused(running: Running) -> None:
    async with wire(running.port) as client:
        for _ in range(25):
            await client.call("/test/sleep", b"0.3")
        refused = {(await client.until(Kind.RST_STREAM))[0] for _ in range(5)}
        assert {frames.uint32(payload) for _, _, _, payload in refused} == {ErrorCode.REFUSED_STREAM}
        for _ in range(20):
            await client.until(Kind.HEADERS, frames.END_STREAM)


async def test_rapid_resets_end_in_peace(running: Running) -> None:
    """Some clients cancel much and mean it: what they sent before they knew is answered."""
    async with wire(running.port) as client:
        kept = await client.call("/test/sleep", b"0.5")
        for _ in range(1500):
            client.say(frames.reset(await client.call("/test/sleep", b"9"), ErrorCode.CANCEL))
        goaway, _ = await client.until(Kind.GOAWAY)
        assert (frames.uint32(goaway[3]), frames.uint32(goaway[3], 4)) == (2**31 - 1, ErrorCode.NO_ERROR)
        late = await client.call("/test/echo", b"late")
        headers = [frame for frame in await client.end() if frame[0] == Kind.HEADERS]
        assert {frame[2]: said(frame).get("grpc-status") for frame in headers} == {kept: "0", late: "0"}


async def test_who_pings_and_does_not_read_is_not_read_either(running: Running) -> None:
    """Each answer resets the count of pings, so that only what piles up can stop them."""
    sent = 0
    async with wire(running.port) as client:
        client.stop_reading()
        client.writer.transport.set_write_buffer_limits(2**16)
        ping = frames.frame(Kind.PING, 0, 0, bytes(8)) * 2
        with pytest.raises((TimeoutError, ConnectionError)):
            async with asyncio.timeout(2):
                while True:
                    await client.call("/test/large", b"10000")
                    client.say(ping * 50)
                    sent += 1700
                    await client.writer.drain()
        assert sent < 50_000_000
        client.writer.transport.abort()


async def test_padded_and_prioritised_frames_are_read(running: Running) -> None:
    async with wire(running.port) as client:
        client.say(frames.frame(2, 0, 1, bytes(5)))  # type: ignore[arg-type]  # PRIORITY
        padded = b"\x07" + bytes(5) + HEAD + bytes(7)
        client.say(frames.frame(Kind.HEADERS, frames.END_HEADERS | frames.PADDED | frames.PRIORITY, 1, padded))
        body = message(b"hello")
        client.say(frames.frame(Kind.DATA, frames.PADDED, 1, b"\xff" + body[:3] + bytes(255)))
        client.say(frames.frame(200, 0, 1, b"unknown"))  # type: ignore[arg-type]  # a kind of the future
        client.say(frames.frame(Kind.DATA, frames.PADDED | frames.END_STREAM, 1, b"\0" + body[3:]))
        update, _ = await client.until(Kind.WINDOW_UPDATE, number=1)
        assert frames.uint32(update[3]) == 256
        _, data = await client.until(Kind.HEADERS, frames.END_STREAM)
        assert data == body


BAD_MESSAGES = [
    (b"", "13", "before its message"),
    (message(b"hello")[:-1], "13", "before its message"),
    (message(b"hello") * 2, "13", "more was sent"),
    (message(b"hello") + b"x", "13", "more was sent"),
    (PREFIX.pack(0, 2**20 + 1), "8", "larger than max"),
    (PREFIX.pack(2, 1) + b"x", "13", "first byte"),
    (PREFIX.pack(1, 20) + b"x" * 20, "13", "no gzip"),
    (PREFIX.pack(1, 20) + gzip.compress(b"x" * 100)[:20], "13", "breaks off"),
    (PREFIX.pack(1, 0), "13", "breaks off"),
]


@pytest.mark.parametrize(("body", "status", "says"), BAD_MESSAGES)
async def test_messages_that_are_none(running: Running, body: bytes, status: str, says: str) -> None:
    async with wire(running.port) as client:
        number = await client.call("/test/echo", None, ("grpc-encoding", "gzip"), end=False)
        client.send(number, body, end=True)
        answer, _ = await client.until(Kind.HEADERS, frames.END_STREAM)
        assert said(answer)["grpc-status"] == status and says in said(answer)["grpc-message"]
    assert not running.methods.ended or running.methods.ended[0][2:] == (0, 0)


@pytest.mark.parametrize(("coding", "status"), [("br", "12"), ("identity", "13")])
async def test_codings_that_are_not_read(running: Running, coding: str, status: str) -> None:
    async with wire(running.port) as client:
        number = await client.call("/test/echo", None, ("grpc-encoding", coding), end=False)
        client.send(number, PREFIX.pack(1, 1) + b"x", end=True)
        answer, _ = await client.until(Kind.HEADERS, frames.END_STREAM)
        assert said(answer)["grpc-status"] == status
        assert said(answer)["grpc-accept-encoding"] == "identity,deflate,gzip"


async def test_the_first_bytes_of_a_large_message_are_enough(running: Running) -> None:
    async with wire(running.port) as client:
        number = await client.call("/test/echo", None, end=False)
        client.send(number, PREFIX.pack(0, 2**30), end=False)
        answer, _ = await client.until(Kind.HEADERS, frames.END_STREAM)
        assert said(answer)["grpc-status"] == "8"
        reset, _ = await client.until(Kind.RST_STREAM)
        assert frames.uint32(reset[3]) == ErrorCode.NO_ERROR
        client.send(number, bytes(10**6), end=True)  # was on its way
        await client.call("/test/echo", b"again")
        assert (await client.until(Kind.HEADERS, frames.END_STREAM))[1] == message(b"again")


@pytest.mark.parametrize(("name", "value"), [("grpc-timeout", "soon"), ("grpc-timeout", "123456789S"), ("x-bin", "!?")])
async def test_headers_that_make_no_sense(running: Running, name: str, value: str) -> None:
    async with wire(running.port) as client:
        await client.call("/test/echo", b"", (name, value))
        answer, _ = await client.until(Kind.HEADERS, frames.END_STREAM)
        assert said(answer)["grpc-status"] == "13"


async def test_more_than_a_streams_window_is_too_much(running: Running) -> None:
    async with wire(running.port) as client:
        number = await client.call("/test/reads_nothing", None, end=False)
        client.send(number, message(bytes(2**18)) * 5, end=False)
        assert (await sent_away(client))[0] is ErrorCode.FLOW_CONTROL_ERROR
