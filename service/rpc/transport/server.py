"""gRPC over HTTP/2 on one socket: connections from their beginning to a graceful end."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from ssl import SSLContext

import grpc

from service.http2.frames import DEFAULT_WINDOW, LARGEST_WINDOW
from service.http2.headers import Headers
from service.http2.messages import PREFIX
from service.http2.patience import Limits
from service.http2.serving import Connection
from service.http2.streams import Receiver, Stream
from service.rpc.transport import heads, status
from service.rpc.transport.context import Context, Rules, Steps
from service.rpc.transport.heads import NotGrpcError
from service.rpc.transport.methods import Methods
from service.rpc.transport.status import Refused
from service.rpc.transport.streaming import StreamCall
from service.rpc.transport.unary import UnaryCall

_BACKLOG = 2048
_SWEEP = 0.5  # seconds between looks at all connections
_POLL = 0.02  # seconds between looks while stopping
_TLS_GOODBYE = 2.0  # seconds for a client to take leave
_SAYS = "this port speaks gRPC (HTTP/2); HTTP/1.1 is spoken on --http-port\n"
_HTTP1 = f"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {len(_SAYS)}\r\n"


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """`metadata_bytes` a call, `streams` a connection, `connections` in all; a message is measured also once it is
    decompressed. In seconds: until a connection has been used, until a call's message is there or its answer taken.
    """

    message_bytes: int
    metadata_bytes: int
    streams: int
    connections: int
    handshake_seconds: float
    body_seconds: float


class Server(Methods):
    """Generated code adds its methods. `refused` is told why connections are ended for what their clients did."""

    def __init__(
        self, steps: Steps, limits: GrpcLimits, refused: Callable[[str], None], tls: SSLContext | None = None
    ) -> None:
        super().__init__()
        self._limits, self._refused, self._tls = limits, refused, tls
        self._rules = Rules(steps, limits.message_bytes, limits.body_seconds)
        self._bounds = Limits(
            limits.connections,
            limits.streams,
            limits.metadata_bytes,
            # As much as a whole message, so that a unary call never waits for more of it, and a stream holds no more.
            min(LARGEST_WINDOW, max(DEFAULT_WINDOW, limits.message_bytes + PREFIX.size)),
            limits.handshake_seconds,
            limits.body_seconds,
        )
        self._connections: set[Connection] = set()
        self._listening: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Listens on a bound socket. Raises OSError where it cannot."""
        loop = asyncio.get_running_loop()
        http1 = f"{_HTTP1}connection: close\r\n\r\n{_SAYS}".encode()
        self._listening = await loop.create_server(
            lambda: Connection(self._accept, self._bounds, self._connections, http1, self._refused),
            sock=listener,
            backlog=_BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=self._limits.handshake_seconds if self._tls else None,
            ssl_shutdown_timeout=_TLS_GOODBYE if self._tls else None,
        )
        self._sweeping = loop.create_task(self._sweep())

    async def stop(self, grace: float) -> None:
        """Takes no new connections, sends clients elsewhere, and lets calls under way finish for up to `grace` seconds.

        Streams, which clients may keep open for ever, are ended once there are no other calls.
        """
        if self._listening is None or self._sweeping is None:
            return
        self._listening.close()
        until = time.monotonic() + grace
        while self._connections and time.monotonic() < until:
            for connection in tuple(self._connections):  # some had just been accepted
                connection.leave()
            calls = tuple(self._calls())
            if not any(isinstance(call, UnaryCall) for call in calls):
                for call in calls:
                    call.end(grpc.StatusCode.UNAVAILABLE, "the server is going away")
            await asyncio.sleep(_POLL)
        for connection in tuple(self._connections):
            connection.abort()
        self._sweeping.cancel()

    def _calls(self) -> Iterator[Context]:
        for connection in tuple(self._connections):
            yield from (call for call in connection.receivers if isinstance(call, Context))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            now = time.monotonic()
            for connection in tuple(self._connections):
                connection.sweep(now)

    def _accept(self, stream: Stream, headers: Headers | None) -> Receiver | None:
        try:
            if headers is None:
                says = f"more than {self._limits.metadata_bytes} bytes of metadata (--max-header-bytes)"
                raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, says)
            head = heads.read(headers)
            variables = copy_context()  # the call's own, from here on
            variables.run(self._rules.steps.admit, head)
            if (method := self.find(head.path)) is None:
                raise Refused(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            kind = StreamCall if method.streams else UnaryCall
            return kind(stream, head, method, self._rules, variables)
        except NotGrpcError:
            stream.send(trailers=status.NOT_GRPC)
        except Refused as refused:
            stream.send(trailers=status.HEAD + status.trailers(refused.code, refused.details, refused.metadata))
        return None
