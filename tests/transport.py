"""Our gRPC server with methods made for tests, and a client that speaks HTTP/2 as it likes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import grpc

from service.http2 import frames
from service.http2 import headers as blocks
from service.http2.frames import Kind
from service.http2.messages import message
from service.rpc.transport.context import Context
from service.rpc.transport.heads import Head
from service.rpc.transport.server import GrpcLimits, Server

LIMITS = GrpcLimits(
    message_bytes=2**20,
    metadata_bytes=4096,
    streams=20,
    connections=50,
    handshake_seconds=10,
    body_seconds=10,
)


@dataclass
class Methods:
    """/test/NAME for each method here. Messages are bytes."""

    cancelled: list[str] = field(default_factory=list)
    sleeping: int = 0
    ended: list[tuple[str, str, int, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def service(self, details: Any) -> Any:
        name = details.method.removeprefix("/test/")
        behaviour: Any = getattr(self, f"do_{name}", None)
        if behaviour is None:
            return None
        if name in ("count", "flood"):
            return grpc.unary_stream_rpc_method_handler(behaviour)
        if name in ("echoes", "reads_nothing"):
            return grpc.stream_stream_rpc_method_handler(behaviour)
        if name == "join":
            return grpc.stream_unary_rpc_method_handler(behaviour)
        if name == "strict":
            return grpc.unary_unary_rpc_method_handler(behaviour, request_deserializer=bytes.decode)
        return grpc.unary_unary_rpc_method_handler(behaviour)

    async def do_echo(self, request: bytes, context: Context) -> bytes:
        return request

    do_strict = do_echo

    async def do_large(self, request: bytes, context: Context) -> bytes:
        return b"x" * int(request)

    async def do_sleep(self, request: bytes, context: Context) -> bytes:
        self.sleeping += 1
        try:
            await asyncio.sleep(float(request))
        except asyncio.CancelledError:
            self.cancelled.append("sleep")
            raise
        return request

    async def do_metadata(self, request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("first", "1"), ("first-bin", b"\xff\0")))
        context.set_trailing_metadata((("last", "2"), ("last-bin", b"\xfe\0\1")))
        return repr(context.invocation_metadata()).encode()

    async def do_abort(self, request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode(), (("why", "because"),))

    async def do_fail(self, request: bytes, context: Context) -> bytes:
        raise ZeroDivisionError("a secret")

    def do_missing(self, request: bytes, context: Context) -> bytes:
        """As generated code has it."""
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        context.set_details("not here")
        raise NotImplementedError

    async def do_remaining(self, request: bytes, context: Context) -> bytes:
        return repr(context.time_remaining()).encode()

    async def do_count(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def do_flood(self, request: bytes, context: Context) -> None:
        try:
            while True:
                await context.write(b"x" * 2**16)  # type: ignore[attr-defined]  # of streams only
        except asyncio.CancelledError:
            self.cancelled.append("flood")
            raise

    async def do_echoes(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def do_reads_nothing(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await asyncio.sleep(30)

    async def do_join(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"".join([request async for request in requests])


class _Steps:
    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def admit(self, head: Head) -> None: ...

    def began(self, call: Context) -> None: ...

    def ended(self, call: Context, received: int, sent: int) -> None:
        code = call.code() or grpc.StatusCode.OK
        self._methods.ended.append((call.method.path, code.name, received, sent))


@dataclass
class Running:
    server: Server
    methods: Methods
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def still_serves(self) -> bool:
        async with wire(self.port) as client:
            await client.call("/test/echo", b"hello")
            return b"hello" in (await client.until(Kind.HEADERS, frames.END_STREAM))[1]


@asynccontextmanager
async def serving(**changed: Any) -> AsyncIterator[Running]:
    """With LIMITS, but for those changed."""
    methods = Methods()
    server = Server(_Steps(methods), replace(LIMITS, **changed), methods.refused.append)
    server.add_generic_rpc_handlers((methods,))
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    try:
        yield Running(server, methods, listener.getsockname()[1])
    finally:
        await server.stop(0)


Frame = tuple[int, int, int, bytes]  # kind, flags, stream, payload


def request(path: str, *more: tuple[str, str]) -> bytes:
    pseudo = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"))
    return blocks.block((*pseudo, ("te", "trailers"), ("content-type", "application/grpc"), *more))


class Wire:
    """A connection on which the test says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._next = 1

    def say(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    async def call(self, path: str, body: bytes | None, *more: tuple[str, str], end: bool = True) -> int:
        """The stream that was opened; `body` is one message."""
        number, self._next = self._next, self._next + 2
        flags = frames.END_STREAM if end and body is None else 0
        self.say(frames.headers(flags, number, request(path, *more)))
        if body is not None:
            self.send(number, message(body), end=end)
        return number

    def send(self, number: int, data: bytes, *, end: bool) -> None:
        """Whatever windows say."""
        pieces = [data[start : start + 2**14] for start in range(0, len(data), 2**14)] or [b""]
        for piece in pieces:
            last = end and piece is pieces[-1]
            self.say(frames.frame(Kind.DATA, frames.END_STREAM if last else 0, number, piece))

    def stop_reading(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a Transport

    async def frame(self) -> Frame:
        """Raises IncompleteReadError or ConnectionError once the server has hung up."""
        high, low, kind, flags, number = frames.HEAD.unpack(await self._reader.readexactly(frames.HEAD.size))
        return kind, flags, number, await self._reader.readexactly(high << 8 | low)

    async def until(self, kind: Kind, flags: int = 0, number: int | None = None) -> tuple[Frame, bytes]:
        """The first frame of this kind with these flags, and the DATA before it."""
        data = b""
        async with asyncio.timeout(20):
            while True:
                got = await self.frame()
                if got[0] == kind and got[1] & flags == flags and number in (None, got[2]):
                    return got, data
                if got[0] == Kind.DATA:
                    data += got[3]

    async def end(self) -> list[Frame]:
        """All until the server hangs up."""
        got: list[Frame] = []
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    got.append(await self.frame())
        return got


def said(frame: Frame) -> dict[str, str]:
    """The headers in a frame of them."""
    return dict(blocks.read(frame[3], 2**16) or ())


@asynccontextmanager
async def wire(port: int, *settings: tuple[int, int], preface: Sequence[bytes] | None = None) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Wire(reader, writer)
    if preface is None:
        client.say(frames.PREFACE, frames.settings(dict(settings)))  # type: ignore[arg-type]  # any numbers
    else:
        client.say(*preface)
    try:
        yield client
    finally:
        writer.close()
