"""An HTTP connection, below any request: its bounds (how many, how long, how large a head), what it reads as requests,
and how it ends.

A timer a request would cost more than reading its head. Connections note when they began to wait for their client, and
one task (`sweep`) looks at all of them twice a second.
"""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.http.disconnect import Disconnect
from service.api.http.door import Door, Refusal
from service.api.http.request import ARRIVED, DISCONNECT
from service.api.http.response_writer import ResponseWriter
from service.errors import Code
from service.observability.context import REQUEST_ID

_INTERVAL = 0.5  # seconds between looks
KEEP_ALIVE = 75  # seconds: longer than load balancers keep idle connections, so that they close first
_NEXT_REQUEST = 0.1  # seconds in which an idle connection's next request may be on its way when the server stops
_FIRST_REQUEST = 1.0  # the same of a connection that has just been accepted
_FIRST_PROBE, _LONGEST_PROBE = 0.01, 0.5  # seconds between looks at a client that has sent all it wants to
_SLICE = 8192  # bytes that are parsed at once: some 450 of the shortest requests
_MOST_WAITING = 64  # requests of one connection, beyond which no more of it is parsed
_LONGEST_PARSING = 0.002  # seconds, about, of one connection before the others' turn
_TLS, _HTTP2 = b"\x16\x03", b"PRI * HTTP/2.0"  # the first bytes of clients that speak them


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    connections: int
    header_bytes: int
    headers: int
    header_seconds: float
    body_seconds: float


class Config(uvicorn.Config):
    """uvicorn's, and what its protocol here needs. `refused` is told a reason for each connection that is ended;
    `grpc_port` is where clients are sent that speak HTTP/2.
    """

    limits: ConnectionLimits
    refused: Callable[[str], None]
    grpc_port: int
    door: Door


class _Waits(Enum):
    """What a connection waits for from its client."""

    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


class _RefusedError(Exception):
    """Ends the parsing of a request that has been answered already."""


class _Flow(FlowControl):
    """Does not go on reading where uvicorn would, as long as there is no room for more."""

    def __init__(self, transport: asyncio.Transport, has_room: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_room = has_room

    def resume_reading(self) -> None:
        if self._has_room():
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    config: Config

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self.flow = _Flow(transport, lambda: not self._unparsed and self._may_parse())
        self._limits = self.config.limits
        self._unparsed = memoryview(b"")  # what has come and waits; no more is read until then
        self._waits, self._since = _Waits.REQUEST, time.monotonic()
        self._unread = 0  # bytes since the parser last had something to say: a head or a trailer that does not end
        self._stuck: float | None = None  # since when the client does not take its answer
        self._served = False
        self._arrived: float | None = None  # when the data arrived that are parsed just now
        self._running: RequestResponseCycle | None = None
        self._writer: ResponseWriter | None = None  # of its response
        self._disconnect: Disconnect | None = None
        self._upgrade = False  # asked for by the head that was read last, and not taken
        self._last_words: bytes | None = None  # sent, maybe empty, after the last answer; nothing is read until then
        self._leaving = False  # after the answer that is next
        if len(self.connections) > self._limits.connections:
            self._refuse(503, Code.OVERLOADED, "too many connections are open; connect again later", "too_many")

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn tells the request that it parsed last; where requests are pipelined, another one is running."""
        self._unparsed = memoryview(b"")
        if (running := self._running) is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            if self._disconnect is not None:
                self._disconnect.set_lost()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        scope: Any = cycle.scope
        if self._arrived is not None:
            scope[ARRIVED] = self._arrived
        if (refusal := self.config.door.refuse(scope)) is not None:  # it has waited for those ahead of it
            self._writer = self._disconnect = None
            self.loop.call_later(refusal.wait, self._send_refusal, cycle, refusal)
            return
        self._disconnect = scope[DISCONNECT] = Disconnect()
        self._writer = cycle.transport = ResponseWriter(self.transport, self.loop)
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
        """In uvicorn's place, which loses the body of a request that asks for an upgrade."""
        if self.transport.is_closing() or self._last_words is not None:
            return
        self._unset_keepalive_if_required()
        self._arrived = self.config.door.reads.find_arrival(self.loop)
        self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
        self._parse_on()
        self._arrived = None

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's never does
        """A client that has sent all it wants to may wait for its answers still: true keeps the connection open."""
        if not self._owes_answers() or self.scheme == "https":  # TLS has no half
            return False
        if self._last_words is None:
            self._last_words = b""
            if self._waits is _Waits.BODY:  # of a request that will never be whole
                if not self.pipeline:
                    return False
                self.pipeline.popleft()
        self._probe(_FIRST_PROBE)
        return True

    def shutdown(self) -> None:
        """When the server stops. A request that has begun, or may be on its way, gets the connection's last answer."""
        self._leaving = True
        if self._owes_answers():
            super().shutdown()
        else:
            self.loop.call_later(_NEXT_REQUEST if self._served else _FIRST_REQUEST, self._close_if_idle)

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
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._refuse(400, Code.INVALID_INPUT, "CONNECT is for proxies, and this is none", "malformed")
                raise _RefusedError
            self._upgrade = True
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.header_bytes:
            self._head_too_large()
            raise _RefusedError
        self._read_target()
        super().on_headers_complete()
        self._unread = 0
        self._waits, self._since, self._served = _Waits.BODY, time.monotonic(), True
        self.cycle.keep_alive = self.cycle.keep_alive and not self._leaving

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:  # the head's end, which is read again
            return
        self._unread = 0
        self._waits, self._since = _Waits.REQUEST, time.monotonic()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._waits is _Waits.REQUEST:
            self._since = time.monotonic()
        if self._last_words is not None and not self.pipeline:
            self._part(self._last_words)
        super().on_response_complete()
        self._parse_on()

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

    def _may_parse(self) -> bool:
        return len(self.pipeline) <= _MOST_WAITING

    def _parse_on(self) -> None:
        """Parses what has come, until the requests in line are many or others on this event loop have waited enough."""
        until = time.monotonic() + _LONGEST_PARSING
        waited = self.flow.read_paused and bool(self._unparsed)
        while self._unparsed and self._may_parse():
            if self.transport.is_closing() or self._last_words is not None:
                self._unparsed = memoryview(b"")
                return
            if time.monotonic() > until:
                self.loop.call_soon(self._parse_on)
                break
            data, self._unparsed = self._unparsed[:_SLICE], self._unparsed[_SLICE:]
            self._unread += len(data)
            try:
                self._parse(data)
            except httptools.HttpParserError:
                self._on_unreadable(bytes(data))
            ended = self.transport.is_closing() or self._last_words is not None
            if self._unread > self._limits.header_bytes and not ended:
                self._head_too_large()
        if self._unparsed:
            self.flow.pause_reading()
        elif waited and (self.cycle.response_complete or len(self.cycle.body) <= HIGH_WATER_LIMIT):
            self.flow.resume_reading()  # where the application has much to read, it goes on itself

    def _parse(self, data: memoryview) -> None:
        """An upgrade is never taken. The parser takes it for granted and reads no body, and where the connection is to
        close, nothing else either: a new one is given such a head again, without the upgrade, before what follows.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                self._upgrade = False
                method, version = self.parser.get_method(), self.parser.get_http_version().encode()
                lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
                lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")
                data = data[upgrade.args[0] :]

    def _read_target(self) -> None:
        """A URL in its place may go without a path, and may be none although its characters are those of one."""
        if self.url.startswith(b"/"):
            return
        try:
            url = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            got = repr(self.url[:100].decode("latin-1"))
            says = f"invalid request target: expected a path or a URL, got {got}"
            self._refuse(400, Code.INVALID_INPUT, says, "malformed")
            raise _RefusedError from None
        if url.path is None:
            self.url = b"/" if url.query is None else b"/?" + url.query

    def _on_unreadable(self, data: bytes) -> None:
        """Where the parser gave up."""
        if self.transport.is_closing() or self._last_words is not None:  # we stopped it
            return
        says = "this is no HTTP/1.1 request"
        elsewhere = f"gRPC (HTTP/2) is on port {self.config.grpc_port} (--grpc-port)"
        if not self._served and data.startswith(_HTTP2):
            says = f"this port speaks HTTP/1.1; {elsewhere}"
        elif not self._served and data.startswith(_TLS):
            says = f"this port speaks HTTP without TLS (--tls-cert and --tls-key turn it on): ask http://; {elsewhere}"
        self._refuse(400, Code.INVALID_INPUT, says, "malformed")

    def _owes_answers(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _probe(self, pause: float) -> None:
        """Looks, from now on, whether a client that sends no more has left: what is sent to it then is reset."""
        if self.transport.is_closing() or self._writer is None:
            return
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
            return
        self._writer.begin()
        self.loop.call_later(pause, self._probe, min(2 * pause, _LONGEST_PROBE))

    def _close_if_idle(self) -> None:
        if self._waits is _Waits.REQUEST and not self._owes_answers():
            self.transport.close()

    def _part(self, words: bytes) -> None:
        """Ends the connection with these, which go behind the answers that are being sent."""
        transport = self._writer or self.transport
        if words:
            transport.write(words)
        transport.close()

    def _head_too_large(self) -> None:
        limit = self._limits.header_bytes
        says = f"the request line and headers have more than {limit:,} bytes (--max-header-bytes)"
        self._refuse(431, Code.TOO_LARGE, says, "large_headers")

    def _refuse(self, status: int, code: Code, message: str, reason: str) -> None:
        """Where there is no request that the application could answer, after the answers to those before."""
        identifier = uuid.uuid4().hex
        body = json.dumps({"error": {"code": code, "message": message, "request_id": identifier}})
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{REQUEST_ID}: {identifier}\r\nconnection: close\r\n\r\n"
        )
        self.config.refused(reason)
        words = head.encode() + body.encode()
        if self._waits is _Waits.BODY and self.pipeline:
            self.pipeline.popleft()  # the request whose body it is
            self._last_words = words
        elif self._waits is _Waits.BODY:
            self._part(b"" if self.cycle.response_started else words)
        elif self._owes_answers():
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
