"""Bounds on an HTTP connection, below any request: how many, how long, how large a head.

A timer a request would cost more than reading its head. Connections note when they began to wait for their client, and
one task (`sweep`) looks at all of them twice a second.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import Code
from service.rest import calls
from service.rest.door import Door, Refusal
from service.rest.errors import REQUEST_ID

_INTERVAL = 0.5  # seconds between looks
KEEP_ALIVE = 75  # seconds: longer than load balancers keep idle connections, so that they close first


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    connections: int
    header_bytes: int
    headers: int
    header_seconds: float
    body_seconds: float


class Config(uvicorn.Config):
    """uvicorn's, and what its protocol here needs. `refused` is told a reason for each connection that is ended."""

    limits: ConnectionLimits
    refused: Callable[[str], None]
    door: Door


class _Waits(Enum):
    """What a connection waits for from its client."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


class _RefusedError(Exception):
    """Ends the parsing of a request that has been answered already."""


class _Together(asyncio.Transport):
    """Sends a response's head along with the first of its body, for uvicorn writes one after the other: one system call
    and one packet less. A head waits for no body that is not there.
    """

    def __init__(self, transport: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head: Any = None
        self._open = False

    def write(self, data: Any) -> None:
        if self._open:
            self._transport.write(data)
        elif self._head is None:
            self._head = data
            self._loop.call_soon(self._go)
        else:
            self._open = True
            self._transport.writelines((self._head, data))

    def close(self) -> None:
        self._go()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _go(self) -> None:
        if self._head is not None and not self._open:
            self._open = True
            self._transport.write(self._head)


class BoundedProtocol(HttpToolsProtocol):
    config: Config

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self._limits = self.config.limits
        self._waits, self._since = _Waits.REQUEST, time.monotonic()
        self._unread = 0  # bytes since the parser last had something to say: a head or a trailer that does not end
        self._stuck: float | None = None  # since when the client does not take its answer
        self._served = False
        self._arrived: float | None = None  # when the data arrived that are parsed just now
        self._running: RequestResponseCycle | None = None
        if len(self.connections) > self._limits.connections:
            self._refuse(503, Code.OVERLOADED, "too many connections are open; connect again later", "too_many")

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn tells the request that it parsed last; where requests are pipelined, another one is running."""
        if (running := self._running) is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        scope: Any = cycle.scope
        if self._arrived is not None:
            scope[calls.ARRIVED] = self._arrived
        if (refusal := self.config.door.refuse(scope)) is not None:  # it has waited for those ahead of it
            self.loop.call_later(refusal.wait, self._send_refusal, cycle, refusal)
            return
        cycle.transport = _Together(self.transport, self.loop)
        super()._start_asgi_task(cycle, app)

    def _send_refusal(self, cycle: RequestResponseCycle, refusal: Refusal) -> None:
        """As the application would answer; its client may have left meanwhile, or not take what it is sent."""
        if cycle.disconnected or self.transport.is_closing():
            refusal.sent()
        elif self.flow.write_paused:
            self.loop.call_later(_INTERVAL, self._send_refusal, cycle, refusal)
        else:
            stays = cycle.keep_alive and not self.config.door.draining
            more = [b"%s: %s\r\n" % header for header in cycle.default_headers]  # the date
            end = b"\r\n" if stays else b"connection: close\r\n\r\n"
            self.transport.write(b"".join([refusal.head, *more, end, refusal.body]))
            cycle.response_started = cycle.response_complete = True
            refusal.sent()
            if not stays:
                self.transport.close()
            cycle.on_response()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unread += len(data)
        self._arrived = self.config.door.reads.find_arrival(self.loop)
        super().data_received(data)
        self._arrived = None
        if self._unread > self._limits.header_bytes and not self.transport.is_closing():
            self._head_too_large()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._waits, self._since = _Waits.HEAD, time.monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > self._limits.headers:  # trailers are counted too
            self._refuse(
                431,
                Code.TOO_LARGE,
                f"a request has at most {self._limits.headers} headers here (--max-headers)",
                "too_many_headers",
            )
            raise _RefusedError

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.header_bytes:
            self._head_too_large()
            raise _RefusedError
        self._unread = 0
        self._waits, self._since, self._served = _Waits.BODY, time.monotonic(), True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        self._waits, self._since = _Waits.REQUEST, time.monotonic()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._waits is _Waits.REQUEST:
            self._since = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._stuck = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Where the parser gave up."""
        if not self.transport.is_closing():
            self._refuse(400, Code.INVALID_INPUT, "this is no HTTP/1.1 request", "malformed")

    def sweep(self, now: float) -> None:
        """Ends the connection where its client has taken too long."""
        if self.transport.is_closing():
            if self._stuck is not None and now - self._stuck > self._limits.body_seconds:
                self.transport.abort()
            return
        if self._stuck is not None and now - self._stuck > self._limits.body_seconds:
            self.config.refused("answer_not_taken")
            self.transport.abort()
        elif self.cycle is not None and not self.cycle.response_complete:
            return  # the client waits for us; how long a body may take is the application's to say
        elif self._waits is _Waits.HEAD and now - self._since > self._limits.header_seconds:
            seconds = self._limits.header_seconds
            self._refuse(408, Code.DEADLINE, f"the headers did not arrive within {seconds:g} s", "slow_headers")
        elif self._waits is _Waits.BODY and now - self._since > self._limits.body_seconds:
            self.config.refused("slow_body")  # it has had its answer
            self.transport.abort()
        elif self._waits is _Waits.REQUEST:
            allowed = KEEP_ALIVE if self._served else self._limits.header_seconds
            if now - self._since > allowed:
                self.transport.close()

    def _head_too_large(self) -> None:
        limit = self._limits.header_bytes
        says = f"the request line and headers have more than {limit:,} bytes (--max-header-bytes)"
        self._refuse(431, Code.TOO_LARGE, says, "large_headers")

    def _refuse(self, status: int, code: Code, message: str, reason: str) -> None:
        """Before there is a request that the application could answer."""
        identifier = uuid.uuid4().hex
        body = json.dumps({"error": {"code": code, "message": message, "request_id": identifier}})
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{REQUEST_ID}: {identifier}\r\nconnection: close\r\n\r\n"
        )
        self.config.refused(reason)
        self.transport.write(head.encode() + body.encode())
        self.transport.close()


async def sweep(connections: Iterable[object]) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(_INTERVAL)
        now = time.monotonic()
        for connection in tuple(connections):
            if isinstance(connection, BoundedProtocol):
                connection.sweep(now)
