"""uvicorn's HTTP connection, read as this service needs it: the one file that uses what uvicorn keeps to itself.

A connection reads a bounded line of requests, gives other connections their turn, and never takes an upgrade.
`connection.BoundedProtocol` decides what is refused and when a connection ends.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.http.disconnect import Disconnect
from service.api.http.request import ARRIVED, DISCONNECT
from service.api.http.response_writer import ResponseWriter

_SLICE = 8192  # bytes that are parsed at once, or what is left of a body: some 450 of the shortest requests
_MOST_WAITING = 64  # requests of one connection, beyond which no more of it is parsed
_LONGEST_PARSING = 0.002  # seconds, about, of one connection before the others' turn

Cycle = RequestResponseCycle
"""One request and its response, in uvicorn's words."""


class RefusedError(Exception):
    """Ends the parsing of a request that has been answered already."""


class _Flow(FlowControl):
    """Does not go on reading where uvicorn would, as long as there is no room for more."""

    def __init__(self, transport: asyncio.Transport, has_room: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_room = has_room

    def resume_reading(self) -> None:
        if self._has_room():
            super().resume_reading()


class UvicornConnection(HttpToolsProtocol):
    """Its subclass has the methods that are named first. Those that check something refuse what is too large."""

    is_ending: Callable[[], bool]
    """Whether nothing more is read."""
    find_arrival: Callable[[], float]
    """When what has just come arrived: a `time.monotonic()`."""
    check_head: Callable[[int], None]
    """Of so many bytes."""
    check_headers: Callable[[int], None]
    """So many, trailers among them."""
    check_unread: Callable[[int], None]
    """So many bytes of which the parser has said nothing yet."""
    on_head: Callable[[], None]
    on_whole: Callable[[], None]
    on_turn: Callable[[Cycle, Any], None]
    """A request is next: `run` it, or answer it."""
    on_answered: Callable[[bool], None]
    """True where no request waits in line."""
    on_unreadable: Callable[[bytes, str], None]
    """Refuses what is no request and begins with these bytes; the text says what is wrong, where that is known."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self.flow = _Flow(transport, lambda: not self._unparsed and self._may_parse())
        self._unparsed = memoryview(b"")  # what has come and waits; no more is read until then
        self._body_left = 0  # bytes of a body whose length is known
        self._unread = 0  # bytes since the parser last had something to say: a head or a trailer that does not end
        self._arrived: float | None = None  # when the data arrived that are parsed just now
        self._running: Cycle | None = None
        self._unwanted: Cycle | None = None  # whose body is for nobody
        self._disconnect: Disconnect | None = None  # of its request
        self._upgrade = False  # asked for by the head that was read last, and not taken
        self.writer: ResponseWriter | None = None  # of the response under way

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn tells the request that it parsed last; where requests are pipelined, another one is running."""
        self._unparsed = memoryview(b"")
        if (running := self._running) is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            if self._disconnect is not None:
                self._disconnect.set_lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """In uvicorn's place, which loses the body of a request that asks for an upgrade."""
        if self.is_ending():
            return
        self._unset_keepalive_if_required()
        self._arrived = self.find_arrival()
        self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
        self._parse_on()
        self._arrived = None

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self.check_headers(len(self.headers))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self.on_unreadable(b"", "CONNECT is for proxies, and this is none")
                raise RefusedError
            self._upgrade = True
            return
        self.check_head(len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers))
        self._read_target()
        super().on_headers_complete()
        self._unread = 0
        self._body_left = next((int(value) for name, value in self.headers if name == b"content-length"), 0)
        self.on_head()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._body_left -= len(body)
        if self.cycle is not self._unwanted:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:  # the head's end, which is read again
            return
        self._unread = 0
        self.on_whole()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.on_answered(not self.pipeline)
        super().on_response_complete()
        self._parse_on()

    def owes_answers(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def has_answered_last(self) -> bool:
        """Whether the request that was read last, maybe not whole, has its answer; True before the first."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def has_begun_last(self) -> bool:
        """Whether the answer to the request that was read last is on its way."""
        return bool(self.cycle.response_started)

    def end_after_last(self) -> None:
        """The answer to the request that was read last is the connection's last one."""
        self.cycle.keep_alive = False

    def drop_waiting(self) -> bool:
        """Takes the request that came last out of the line; False where none waits there."""
        if not self.pipeline:
            return False
        self.pipeline.popleft()
        return True

    def drop_body(self, cycle: Cycle) -> None:
        """What has come of it and what is to come: nobody will read it."""
        self._unwanted = cycle
        cycle.body.clear()

    def run(self, cycle: Cycle, app: Any) -> None:
        """Lets the application answer."""
        scope: Any = cycle.scope
        self._disconnect = scope[DISCONNECT] = Disconnect()
        self.writer = cycle.transport = ResponseWriter(self.transport, self.loop)
        super()._start_asgi_task(cycle, app)

    def has_lost(self, cycle: Cycle) -> bool:
        return cycle.disconnected or self.transport.is_closing()

    def write_answer(self, cycle: Cycle, head: bytes, body: bytes, stays: bool) -> None:
        """In the application's place. `head` comes without the empty line that ends it. The connection `stays` where
        its client wants that too.
        """
        stays = stays and cycle.keep_alive
        more = [b"%s: %s\r\n" % header for header in cycle.default_headers]  # the date
        end = b"\r\n" if stays else b"connection: close\r\n\r\n"
        self.transport.write(b"".join([head, *more, end, body]))
        cycle.response_started = cycle.response_complete = True
        if not stays:
            self.transport.close()
        cycle.on_response()

    def _start_asgi_task(self, cycle: Cycle, app: Any) -> None:
        """Called by uvicorn for each request, when it is its turn."""
        self._running, self._disconnect, self.writer = cycle, None, None
        if self._arrived is not None:
            scope: Any = cycle.scope
            scope[ARRIVED] = self._arrived
        self.on_turn(cycle, app)

    def _may_parse(self) -> bool:
        return len(self.pipeline) <= _MOST_WAITING

    def _parse_on(self) -> None:
        """Parses what has come, until the requests in line are many or others on this event loop have waited enough."""
        until = time.monotonic() + _LONGEST_PARSING
        while self._unparsed and self._may_parse():
            if self.is_ending():
                self._unparsed = memoryview(b"")
                return
            if time.monotonic() > until:
                self.loop.call_soon(self._parse_on)
                break
            size = max(_SLICE, self._body_left)
            data, self._unparsed = self._unparsed[:size], self._unparsed[size:]
            self._unread += len(data)
            try:
                self._parse(data)
            except httptools.HttpParserError:
                if not self.is_ending():  # else we stopped it
                    self.on_unreadable(bytes(data), "")
            if not self.is_ending():
                self.check_unread(self._unread)
        if self._unparsed:
            self.flow.pause_reading()
        elif self.flow.read_paused and not self._is_body_ahead():
            self.flow.resume_reading()

    def _is_body_ahead(self) -> bool:
        """Whether the application has much to read, and goes on reading itself. Behind a whole body nobody else would,
        and a client that leaves would go unseen.
        """
        last = self.cycle
        return last is not None and not last.response_complete and last.more_body and len(last.body) > HIGH_WATER_LIMIT

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
            self.on_unreadable(b"", f"invalid request target: expected a path or a URL, got {got}")
            raise RefusedError from None
        if url.path is None:
            self.url = b"/" if url.query is None else b"/?" + url.query
