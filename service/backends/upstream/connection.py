"""One HTTP/2 connection that carries unary gRPC calls.

grpc.aio's client costs 200 us of Python and a thread's wake-up a call, which is most of what this gateway may cost in
all; this one costs 30. It also knows what grpc.aio hides: that a connection is lost at the moment it is lost, and
whether a failed call can have reached the peer at all.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import cast

from service.backends.upstream import calls
from service.backends.upstream.calls import CallFailed, Status
from service.current import Metadata
from service.http2 import frames
from service.http2.frames import Kind, ProtocolError, Setting
from service.http2.reading import Reader


class _Stream:
    __slots__ = ("answer", "body", "head", "headers", "number", "unsent", "window")

    def __init__(self, answer: "asyncio.Future[bytes]", head: bytes, message: bytes) -> None:
        self.answer, self.head = answer, head
        self.unsent = memoryview(message)
        self.number = self.window = 0
        self.body: list[bytes] = []
        self.headers: Mapping[str, str] = {}


class Connection(asyncio.Protocol):
    """Made by `connect`; `usable` until the peer says good-bye or the connection is lost."""

    def __init__(self, scheme: str, authority: str) -> None:
        self._scheme, self._authority = scheme, authority
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, _Stream] = {}
        self._waiting: deque[_Stream] = deque()  # for one of the streams that the peer allows
        self._blocked: dict[int, _Stream] = {}  # by flow control
        self._next = 1
        self._most_streams = 100  # until the peer says otherwise
        self._first_window = self._window = frames.DEFAULT_WINDOW
        self._frame_size = frames.LARGEST_FRAME
        self._unacknowledged = 0
        self._reader = Reader()
        self._leaving = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._leaving

    @property
    def load(self) -> int:
        """Calls under way."""
        return len(self._streams) + len(self._waiting)

    def start(
        self, path: str, message: bytes, timeout: float | None, metadata: Metadata = ()
    ) -> "asyncio.Future[bytes]":
        """Sends a call; the future gives the answer's message or raises CallFailed. Cancelling it cancels the call.

        `timeout` (seconds) only tells the peer when to give up.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()
        head = calls.request_headers(self._scheme, self._authority, path, timeout, metadata)
        stream = _Stream(answer, head, frames.message(message))
        answer.add_done_callback(partial(self._settled, stream))
        if not self.usable:
            self._fail(stream, "the connection is closing", unsent=True)
        elif len(self._streams) < self._most_streams:
            self._open(stream)
        else:
            self._waiting.append(stream)
        return answer

    def close(self) -> None:
        """Lets calls under way finish; new ones fail."""
        self._leaving = True
        if not self._streams and self._transport is not None:
            self._transport.close()

    def _open(self, stream: _Stream) -> None:
        stream.number, self._next = self._next, self._next + 2
        if self._next > frames.LAST_STREAM:  # after three days of 4,000 calls a second
            self._leaving = True
        stream.window = self._first_window
        self._streams[stream.number] = stream
        parts: list[bytes | memoryview] = [frames.frame(Kind.HEADERS, frames.END_HEADERS, stream.number, stream.head)]
        self._send_data(stream, parts)
        self._write(parts)

    def _send_data(self, stream: _Stream, parts: list[bytes | memoryview]) -> None:
        """Adds as many DATA frames as both windows allow; the rest waits for a WINDOW_UPDATE."""
        while stream.unsent:
            size = min(len(stream.unsent), self._frame_size, stream.window, self._window)
            if size <= 0:
                self._blocked[stream.number] = stream
                return
            last = size == len(stream.unsent)
            head = frames.HEAD.pack(size >> 8, size & 0xFF, Kind.DATA, frames.END_STREAM if last else 0, stream.number)
            parts += (head, stream.unsent[:size])
            stream.unsent = stream.unsent[size:]
            stream.window -= size
            self._window -= size
        self._blocked.pop(stream.number, None)

    def _unblock(self) -> None:
        parts: list[bytes | memoryview] = []
        for stream in list(self._blocked.values()):
            self._send_data(stream, parts)
        self._write(parts)

    def _write(self, parts: "list[bytes | memoryview]") -> None:
        if parts and self._transport is not None:
            self._transport.write(b"".join(parts))

    def _settled(self, stream: _Stream, answer: "asyncio.Future[bytes]") -> None:
        if answer.cancelled():
            if self._streams.get(stream.number) is stream:
                self._end(stream)
                self._write([frames.reset(stream.number, frames.CANCEL)])
            elif stream in self._waiting:
                self._waiting.remove(stream)

    def _end(self, stream: _Stream) -> None:
        self._streams.pop(stream.number, None)
        self._blocked.pop(stream.number, None)
        while self._waiting and len(self._streams) < self._most_streams:
            self._open(self._waiting.popleft())
        if self._leaving and not self._streams and self._transport is not None:
            self._transport.close()

    def _fail(self, stream: _Stream, reason: str, *, unsent: bool, lost: bool = False) -> None:
        if not stream.answer.done():
            stream.answer.set_exception(CallFailed(Status.UNAVAILABLE, reason, unsent=unsent, lost=lost))

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it
        ours = {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: frames.LARGEST_WINDOW,
        }
        more = frames.LARGEST_WINDOW - frames.DEFAULT_WINDOW
        self._transport.write(frames.PREFACE + frames.settings(ours) + frames.window_update(0, more))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lose(f"the connection was lost ({exc or 'the peer closed it'})")

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        try:
            for kind, flags, number, payload in self._reader.feed(data):
                self._on_frame(kind, flags, number, payload)
        except ProtocolError as error:
            self._lose(f"the peer broke the protocol: {error}")

    def _lose(self, reason: str) -> None:
        self._leaving = True
        streams, waiting = list(self._streams.values()), list(self._waiting)
        self._streams.clear()
        self._waiting.clear()
        self._blocked.clear()
        for stream in streams:
            self._fail(stream, reason, unsent=False, lost=True)
        for stream in waiting:
            self._fail(stream, reason, unsent=True, lost=True)
        if self._transport is not None:
            self._transport.abort()

    # Frames.

    def _on_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == Kind.DATA:
            self._on_data(flags, number, payload)
        elif kind == Kind.HEADERS:
            self._on_headers(flags, number, payload)
        elif kind == Kind.WINDOW_UPDATE:
            self._on_window(number, frames.uint32(payload))
        elif kind == Kind.SETTINGS:
            if not flags & frames.ACK:
                self._on_settings(payload)
        elif kind == Kind.PING:
            if not flags & frames.ACK:
                self._write([frames.frame(Kind.PING, frames.ACK, 0, payload)])
        elif kind == Kind.RST_STREAM:
            self._on_reset(number, frames.uint32(payload))
        elif kind == Kind.GOAWAY:
            self._on_goaway(frames.uint32(payload) & frames.LAST_STREAM)
        elif kind == Kind.PUSH_PROMISE:
            raise ProtocolError("a push, which we forbade")

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        # A stream's window holds any answer; the connection's is refilled now and then.
        self._unacknowledged += len(payload)
        if self._unacknowledged > frames.LARGEST_WINDOW // 2:
            self._write([frames.window_update(0, self._unacknowledged)])
            self._unacknowledged = 0
        if (stream := self._streams.get(number)) is not None:
            stream.body.append(frames.unpadded(flags, payload) if flags & frames.PADDED else payload)
            if flags & frames.END_STREAM:
                self._finish(stream, {})

    def _on_headers(self, flags: int, number: int, block: bytes) -> None:
        headers = frames.read_header_block(block)
        if (stream := self._streams.get(number)) is None:
            return
        if flags & frames.END_STREAM:
            self._finish(stream, headers)
        else:
            stream.headers = headers

    def _finish(self, stream: _Stream, trailers: Mapping[str, str]) -> None:
        half_sent = bool(stream.unsent)
        self._end(stream)
        if half_sent:  # answered before it was asked in full, as a refusal may be
            self._write([frames.reset(stream.number, frames.CANCEL)])
        if stream.answer.done():
            return
        try:
            stream.answer.set_result(calls.read_answer(stream.headers, stream.body, trailers))
        except CallFailed as error:
            stream.answer.set_exception(error)

    def _on_window(self, number: int, size: int) -> None:
        if number == 0:
            self._window += size
        elif (stream := self._streams.get(number)) is not None:
            stream.window += size
        if self._blocked:
            self._unblock()

    def _on_settings(self, payload: bytes) -> None:
        for name, value in frames.read_settings(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._first_window
                self._first_window = value
            elif name == Setting.MAX_FRAME_SIZE:
                self._frame_size = value
            elif name == Setting.MAX_CONCURRENT_STREAMS:
                self._most_streams = value
        self._write([frames.frame(Kind.SETTINGS, frames.ACK, 0)])
        self._unblock()
        while self._waiting and len(self._streams) < self._most_streams:
            self._open(self._waiting.popleft())

    def _on_reset(self, number: int, code: int) -> None:
        if (stream := self._streams.get(number)) is not None:
            self._end(stream)
            if not stream.answer.done():
                refused = code == frames.REFUSED_STREAM
                failed = CallFailed(
                    Status.UNAVAILABLE, f"the peer ended the call (HTTP/2 error {code})", unsent=refused
                )
                stream.answer.set_exception(failed)

    def _on_goaway(self, last: int) -> None:
        """The peer finishes the streams up to `last` and has not looked at later ones."""
        self._leaving = True
        waiting = list(self._waiting)
        self._waiting.clear()
        for stream in [*(each for each in self._streams.values() if each.number > last), *waiting]:
            self._fail(stream, "the peer is going away", unsent=True)
            self._end(stream)
        if not self._streams and self._transport is not None:
            self._transport.close()
