"""The HTTP/2 connection against real gRPC servers, and against peers that stretch or break the protocol."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from service.backends.upstream.calls import CallFailed, Status
from service.backends.upstream.connecting import connect
from service.backends.upstream.connection import Connection
from service.http2 import frames, messages
from service.http2 import headers as blocks
from service.http2.frames import ErrorCode, Kind, Setting

PATH = "/test.Service/Method"


Method = Callable[[bytes, Any], Awaitable[bytes]]


class Generic(grpc.GenericRpcHandler):
    """Answers every method with what `answer` makes of the request's bytes."""

    def __init__(self, answer: Method) -> None:
        self._handler: Any = grpc.unary_unary_rpc_method_handler(answer)

    def service(self, handler_call_details: Any) -> Any:
        return self._handler


@asynccontextmanager
async def grpc_server(
    answer: Method, *options: tuple[str, int], tls: grpc.ServerCredentials | None = None
) -> AsyncIterator[int]:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), *options])
    server.add_generic_rpc_handlers((Generic(answer),))
    port = server.add_secure_port("localhost:0", tls) if tls else server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def opened(port: int) -> Connection:
    return await connect(("127.0.0.1", port), f"127.0.0.1:{port}", None, None)


@pytest.mark.parametrize("size", [0, 1, 2**14 - 5, 2**14 - 4, 2**16, 5_000_000])
async def test_messages_of_any_size(size: int) -> None:
    """Beyond frames, windows and what a peer allows at first."""
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with grpc_server(echo) as port:
        connection = await opened(port)
        answers = await asyncio.gather(*(connection.start(PATH, message, 30) for _ in range(4)))
        assert all(answer == message for answer in answers)
        assert connection.load == 0
        connection.close()


async def test_more_calls_than_the_peer_allows_at_once_wait() -> None:
    most = running = 0

    async def counted(request: bytes, context: Any) -> bytes:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return request

    async def asked(connection: Connection, message: bytes) -> bytes:
        """gRPC's server refuses a stream while it still clears away one that it has answered."""
        while True:
            try:
                return await connection.start(PATH, message, 30)
            except CallFailed as failure:
                assert failure.unsent and connection.usable

    async with grpc_server(counted, ("grpc.max_concurrent_streams", 3)) as port:
        connection = await opened(port)
        await connection.start(PATH, b"its settings are known after this", 30)
        answers = await asyncio.gather(*(asked(connection, b"%d" % number) for number in range(20)))
        assert answers == [b"%d" % number for number in range(20)] and most <= 3


async def test_statuses_and_messages_come_back_whole() -> None:
    async def refused(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "100 % wrong: größer\nthan allowed")
        return b""

    async with grpc_server(refused) as port:
        connection = await opened(port)
        for _ in range(2):
            with pytest.raises(CallFailed, match="größer\nthan allowed") as caught:
                await connection.start(PATH, b"", None)
            assert caught.value.status is Status.FAILED_PRECONDITION and not caught.value.unsent


async def test_deadline_and_metadata_arrive() -> None:
    async def tell(request: bytes, context: Any) -> bytes:
        sent = dict(context.invocation_metadata())
        return f"{context.time_remaining():.0f} {sent['x-request-id']} {sent['traceparent']}".encode()

    async with grpc_server(tell) as port:
        connection = await opened(port)
        metadata = (("x-request-id", "a" * 200), ("traceparent", "00-1-2-01"))
        for seconds in (40, 400_000):
            assert await connection.start(PATH, b"", seconds, metadata) == f"{seconds} {'a' * 200} 00-1-2-01".encode()


@pytest.fixture
def self_signed(tmp_path: Path) -> tuple[Path, Path]:
    """Key and certificate of localhost."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    return key, certificate


async def test_tls_with_a_private_ca(self_signed: tuple[Path, Path]) -> None:
    key, certificate = self_signed
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    trusting = ssl.create_default_context(cafile=certificate)
    trusting.set_alpn_protocols(["h2"])
    async with grpc_server(echo, tls=credentials) as port:
        connection = await connect(("127.0.0.1", port), f"localhost:{port}", trusting, "localhost")
        assert await connection.start(PATH, b"secret" * 100_000, 30) == b"secret" * 100_000
        for context, name in ((ssl.create_default_context(), "localhost"), (trusting, "elsewhere.example")):
            with pytest.raises(ssl.SSLError):
                await connect(("127.0.0.1", port), name, context, name)
        connection.close()


# Peers of our own making. They read the preface and the first call, then say what the test wants.

Say = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = blocks.block([(":status", "200"), ("content-type", "application/grpc")])
FINE = blocks.block([("grpc-status", "0")])


def headers(block: bytes, flags: int = frames.END_HEADERS, stream: int = 1) -> bytes:
    return frames.frame(Kind.HEADERS, flags, stream, block)


def data(payload: bytes, flags: int = 0, stream: int = 1) -> bytes:
    return frames.frame(Kind.DATA, flags, stream, payload)


LAST = frames.END_HEADERS | frames.END_STREAM
TRAILERS = headers(FINE, LAST)


@asynccontextmanager
async def peer(*said: bytes, close: bool = False) -> AsyncIterator[Connection]:
    """A connection to somebody who answers the first call with `said`, a piece at a time."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"application/grpc")
        for piece in said:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if close:
            writer.close()
        else:
            await reader.read(-1)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    connection = await opened(server.sockets[0].getsockname()[1])
    try:
        yield connection
    finally:
        connection.close()
        server.close()


UNKNOWN_KIND = bytes([0, 0, 0, 200, 0, 0, 0, 0, 0])
ANSWER = messages.message(b"an answer in pieces")


@pytest.mark.parametrize(
    "said",
    [
        [frames.settings({}), headers(OK), data(ANSWER), TRAILERS],
        [frames.settings({}) + headers(OK) + data(ANSWER) + TRAILERS],
        [bytes([byte]) for byte in frames.settings({}) + headers(OK) + data(ANSWER) + TRAILERS],
        [headers(OK), data(ANSWER[:3]), data(b""), data(ANSWER[3:]), TRAILERS],
        [headers(OK), data(b"\x05" + ANSWER + bytes(5), frames.PADDED), TRAILERS],
        [
            headers(OK[:7], 0),
            frames.frame(Kind.CONTINUATION, frames.END_HEADERS, 1, OK[7:]),
            data(ANSWER),
            headers(b"\x02" + bytes(5) + FINE + bytes(2), LAST | frames.PADDED | frames.PRIORITY),
        ],
        [
            frames.frame(Kind.PING, 0, 0, bytes(8)),
            UNKNOWN_KIND,
            headers(OK),
            data(ANSWER),
            TRAILERS,
        ],
    ],
)
async def test_answers_however_they_are_cut(said: list[bytes]) -> None:
    async with peer(*said) as connection:
        assert await asyncio.wait_for(connection.start(PATH, b"x", None), 10) == b"an answer in pieces"
        assert connection.usable


GARBAGE = [
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    frames.frame(Kind.PUSH_PROMISE, 0, 1, bytes(4)),
    frames.frame(Kind.CONTINUATION, frames.END_HEADERS, 1, OK),
    headers(b"\xff\xff\xff\xff"),
    headers(OK, 0) + data(ANSWER),
    headers(OK, 0) + frames.frame(Kind.CONTINUATION, 0, 1, bytes(2**14)) * 5,
    frames.frame(Kind.WINDOW_UPDATE, 0, 0, b"\x00"),
    frames.frame(Kind.SETTINGS, 0, 0, bytes(5)),
    headers(OK) + data(b"\xff", frames.PADDED),
    bytes([255, 255, 255, 0, 0, 0, 0, 0, 1]),
]


@pytest.mark.parametrize("said", GARBAGE)
async def test_a_broken_protocol_ends_the_connection_and_its_calls(said: bytes) -> None:
    async with peer(said) as connection:
        with pytest.raises(CallFailed, match="broke the protocol") as caught:
            await asyncio.wait_for(connection.start(PATH, b"x", None), 10)
        assert caught.value.lost and not caught.value.unsent and not connection.usable


NO_ANSWERS = [
    ([headers(blocks.block([(":status", "503")]), LAST)], Status.UNAVAILABLE),
    ([headers(blocks.block([(":status", "200")])), data(b"<html>", frames.END_STREAM)], Status.UNKNOWN),
    ([headers(OK), TRAILERS], Status.INTERNAL),
    ([headers(OK), data(ANSWER[:-1]), TRAILERS], Status.INTERNAL),
    ([headers(OK), data(b"\x01" + ANSWER[1:]), TRAILERS], Status.INTERNAL),
    ([headers(blocks.block([("grpc-status", "99")]), LAST)], Status.UNKNOWN),
    ([frames.reset(1, ErrorCode.INTERNAL_ERROR)], Status.UNAVAILABLE),
]


@pytest.mark.parametrize(("said", "status"), NO_ANSWERS)
async def test_what_is_no_answer_fails_its_call_alone(said: list[bytes], status: Status) -> None:
    async with peer(*said) as connection:
        with pytest.raises(CallFailed) as caught:
            await asyncio.wait_for(connection.start(PATH, b"x", None), 10)
        assert caught.value.status is status and not caught.value.unsent and not caught.value.lost
        assert connection.usable and connection.load == 0


@pytest.mark.parametrize(
    ("said", "close", "unsent", "lost"),
    [
        (frames.frame(Kind.GOAWAY, 0, 0, bytes(8)), False, True, False),
        (frames.reset(1, ErrorCode.REFUSED_STREAM), False, True, False),
        (b"", True, False, True),
    ],
)
async def test_it_is_known_whether_a_failed_call_was_worked_on(
    said: bytes, close: bool, unsent: bool, lost: bool
) -> None:
    async with peer(said, close=close) as connection:
        with pytest.raises(CallFailed) as caught:
            await asyncio.wait_for(connection.start(PATH, b"x", None), 10)
        assert (caught.value.unsent, caught.value.lost) == (unsent, lost)


async def test_a_peer_that_is_leaving_still_answers_what_it_accepted() -> None:
    goaway = frames.frame(Kind.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4))
    async with peer(goaway, headers(OK), data(ANSWER), TRAILERS) as connection:
        accepted, too_late = connection.start(PATH, b"x", None), connection.start(PATH, b"x", None)
        assert await asyncio.wait_for(accepted, 10) == b"an answer in pieces"
        with pytest.raises(CallFailed, match="going away") as caught:
            await too_late
        assert caught.value.unsent and not connection.usable


async def test_a_narrow_window_is_kept_to() -> None:
    received = bytearray()
    done = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frames.settings({Setting.INITIAL_WINDOW_SIZE: 10}))
        await reader.readexactly(len(frames.PREFACE))
        while True:
            high, low, kind, flags, stream = frames.HEAD.unpack(await reader.readexactly(frames.HEAD.size))
            payload = await reader.readexactly(high << 8 | low)
            if kind == Kind.DATA:
                received.extend(payload)
                assert len(payload) <= 10 or not done.is_set()
                writer.write(frames.window_update(stream, len(payload)) + frames.window_update(0, len(payload)))
                if flags & frames.END_STREAM:
                    break
        writer.write(headers(OK, stream=stream) + data(ANSWER, stream=stream))
        writer.write(headers(FINE, LAST, stream))
        await reader.read(-1)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    connection = await opened(server.sockets[0].getsockname()[1])
    await asyncio.sleep(0.1)  # its settings are here
    done.set()
    message = bytes(1000)
    assert await asyncio.wait_for(connection.start(PATH, message, None), 20) == b"an answer in pieces"
    assert bytes(received) == messages.message(message)
    connection.close()
    server.close()
