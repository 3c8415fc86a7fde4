"""Per-connection limits and keepalive: how many connections, how long and how large a head, and how each one ends.

A timer a request would cost more than reading its head. Connections note when they began to wait for their client, and
one task (`sweep`) looks at all of them twice a second.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any

from service.api.http.door import Door, Refusal
from service.api.http.errors import render_refusal
from service.api.http.uvicorn_connection import Cycle, RefusedError, UvicornConnection
from service.errors import Code

_INTERVAL = 0.5  # seconds between looks
KEEP_ALIVE = 75  # seconds: longer than load balancers keep idle connections, so that they close first
_NEXT_REQUEST = 0.1  # seconds in which an idle connection's next request may be on its way when the server stops
_FIRST_REQUEST = 1.0  # the same of a connection that has just been accepted
_FIRST_PROBE, _LONGEST_PROBE = 0.01, 0.5  # seconds between looks at a client that has sent all it wants to
_TLS, _HTTP2 = b"\x16\x03", b"PRI * HTTP/2.0"  # the first bytes of clients that speak them


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    connections: int
    header_bytes: int
    headers: int
    header_seconds: float
    body_seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionSetup:
    """`refused` is told a reason for each connection that is ended; `grpc_port` is where clients are sent that speak
    HTTP/2.
    """

    limits: ConnectionLimits
    door: Door
    refused: Callable[[str], None]
    grpc_port: int


class _Waits(Enum):
    """What a connection waits for from its client."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


class BoundedProtocol(UvicornConnection):
    def __init__(self, setup: ConnectionSetup, *uvicorns: Any) -> None:
        super().__init__(*uvicorns)
        self._setup, self._limits, self._door = setup, setup.limits, setup.door

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self._waits, self._since = _Waits.REQUEST, time.monotonic()
        self._stuck: float | None = None  # since when the client does not take its answer
        self._served = False
        self._last_words: bytes | None = None  # sent, maybe empty, after the last answer; nothing is read until then
        self._leaving = False  # after the answer that is next
        if len(self.connections) > self._limits.connections:
            self._refuse(503, Code.OVERLOADED, "too many connections are open; connect again later", "too_many")

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's never does
        """A client that has sent all it wants to may wait for its answers still: true keeps the connection open."""
        if not self.owes_answers() or self.scheme == "https":  # TLS has no half
            return False
        if self._last_words is None:
            self._last_words = b""
            if self._waits is _Waits.BODY and not self.drop_waiting():  # of a request that will never be whole
                return False
        self._probe(_FIRST_PROBE)
        return True

    def shutdown(self) -> None:
        """When the server stops. A request that has begun, or may be on its way, gets the connection's last answer."""
        self._leaving = True
        if self.owes_answers():
            super().shutdown()
        else:
            self.loop.call_later(_NEXT_REQUEST if self._served else _FIRST_REQUEST, self._close_if_idle)

    def pause_writing(self) -> None:
        self._stuck = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck = None
        super().resume_writing()

    def sweep(self, now: float) -> None:
        """Ends the connection where its client has taken too long."""
        if self.transport.is_closing():
            if self._stuck is not None and now - self._stuck > self._limits.body_seconds:
                self.transport.abort()
            return
        if self._stuck is not None and now - self._stuck > self._limits.body_seconds:
            self._setup.refused("answer_not_taken")
            self.transport.abort()
        elif not self.has_answered_last():
            return  # the client waits for us; how long a body may take is the application's to say
        elif self._waits is _Waits.HEAD and now - self._since > self._limits.header_seconds:
            seconds = self._limits.header_seconds
            self._refuse(408, Code.DEADLINE, f"the headers did not arrive within {seconds:g} s", "slow_headers")
        elif self._waits is _Waits.BODY and now - self._since > self._limits.body_seconds:
            self._setup.refused("slow_body")  # it has had its answer
            self.transport.abort()
        elif self._waits is _Waits.REQUEST:
            allowed = KEEP_ALIVE if self._served else self._limits.header_seconds
            if now - self._since > allowed:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._waits, self._since = _Waits.HEAD, time.monotonic()

    def check_headers(self, count: int) -> None:
        if count > self._limits.headers:
            says = f"a request has at most {self._limits.headers} headers here (--max-headers)"
            self._refuse(431, Code.TOO_LARGE, says, "too_many_headers")
            raise RefusedError

    def is_ending(self) -> bool:
        return self.transport.is_closing() or self._last_words is not None

    def find_arrival(self) -> float:
        return self._door.reads.find_arrival(self.loop)

    def check_head(self, size: int) -> None:
        if size > self._limits.header_bytes:
            self.check_unread(size)
            raise RefusedError

    def check_unread(self, size: int) -> None:
        limit = self._limits.header_bytes
        if size > limit:
            says = f"the request line and headers have more than {limit:,} bytes (--max-header-bytes)"
            self._refuse(431, Code.TOO_LARGE, says, "large_headers")

    def on_head(self) -> None:
        self._waits, self._since, self._served = _Waits.BODY, time.monotonic(), True
        if self._leaving:
            self.end_after_last()

    def on_whole(self) -> None:
        self._waits, self._since = _Waits.REQUEST, time.monotonic()

    def on_turn(self, cycle: Cycle, app: Any) -> None:
        """The door looks at a request once it has waited for those ahead of it."""
        scope: Any = cycle.scope
        refusal = self._door.refuse(scope)
        if refusal is None:
            self.run(cycle, app)
        else:
            self.drop_body(cycle)
            self._door.held.hold(self.loop, refusal.wait, partial(self._send_refusal, cycle, refusal))

    def on_answered(self, is_last: bool) -> None:
        if self._waits is _Waits.REQUEST:
            self._since = time.monotonic()
        if self._last_words is not None and is_last:
            self._part(self._last_words)

    def on_unreadable(self, data: bytes, message: str) -> None:
        says = message or "this is no HTTP/1.1 request"
        elsewhere = f"gRPC (HTTP/2) is on port {self._setup.grpc_port} (--grpc-port)"
        if not self._served and data.startswith(_HTTP2):
            says = f"this port speaks HTTP/1.1; {elsewhere}"
        elif not self._served and data.startswith(_TLS):
            says = f"this port speaks HTTP without TLS (--tls-cert and --tls-key turn it on): ask http://; {elsewhere}"
        self._refuse(400, Code.INVALID_INPUT, says, "malformed")

    def _send_refusal(self, cycle: Cycle, refusal: Refusal) -> None:
        """As the application would answer; its client may have left meanwhile, or not take what it is sent."""
        if self.has_lost(cycle):
            refusal.sent()
        elif self._stuck is not None:
            self.loop.call_later(_INTERVAL, self._send_refusal, cycle, refusal)
        else:
            refusal.sent()
            self.write_answer(cycle, refusal.head, refusal.body, stays=not self._door.draining)

    def _probe(self, pause: float) -> None:
        """Looks, from now on, whether a client that sends no more has left: what is sent to it then is reset."""
        if self.transport.is_closing() or self.writer is None:
            return
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
            return
        self.writer.begin()
        self.loop.call_later(pause, self._probe, min(2 * pause, _LONGEST_PROBE))

    def _close_if_idle(self) -> None:
        if self._waits is _Waits.REQUEST and not self.owes_answers():
            self.transport.close()

    def _part(self, words: bytes) -> None:
        """Ends the connection with these, which go behind the answers that are being sent."""
        transport = self.writer or self.transport
        if words:
            transport.write(words)
        transport.close()

    def _refuse(self, status: int, code: Code, message: str, reason: str) -> None:
        """Where there is no request that the application could answer, after the answers to those before."""
        self._setup.refused(reason)
        words = render_refusal(status, code, message)
        if self._waits is _Waits.BODY and self.drop_waiting():  # the request whose body it is
            self._last_words = words
        elif self._waits is _Waits.BODY:
            self._part(b"" if self.has_begun_last() else words)
        elif self.owes_answers():
            self._last_words = words
        else:
            self._part(words)


async def sweep(connections: Iterable[object]) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(_INTERVAL)
        now = time.monotonic()
        for connection in tuple(connections):
            if isinstance(connection, BoundedProtocol):
                connection.sweep(now)
