"""The server's end of an HTTP/2 connection, and what a client may do to it."""

import asyncio
import time
from collections.abc import Callable, Iterator

from service.buckets import OwnBucket
from service.http2 import frames, greeting
from service.http2.endpoint import Endpoint
from service.http2.frames import ErrorCode, Kind, ProtocolError
from service.http2.greeting import Preface, StrangerError
from service.http2.headers import HeaderReader, Headers
from service.http2.patience import Due, Limits, Patience
from service.http2.reading import HEADER_BYTES, Reader
from service.http2.sending import Parts
from service.http2.streams import Receiver, Stream

_ODDITIES = 200.0, 1000.0  # a second, at once: cancelled streams, and changed settings
_LEAVING = b"leaving!"  # a PING whose answer says that the client has read the good-bye before it

Accept = Callable[[Stream, Headers | None], Receiver | None]
"""Who receives a new stream, whose headers are None where they are too large; nobody where it has been answered."""


class Connection(Endpoint[Stream]):
    """One of `connections` while it lasts. `http1` is the whole answer to a client that speaks HTTP/1.1; `refused` is
    told why a client was sent away.
    """

    def __init__(
        self,
        accept: Accept,
        limits: Limits,
        connections: "set[Connection]",
        http1: bytes,
        refused: Callable[[str], None],
    ) -> None:
        super().__init__(Reader(max(HEADER_BYTES, 2 * limits.header_bytes)))
        self._accept, self._limits, self._http1, self._refused = accept, limits, http1, refused
        self._connections = connections
        self._headers = HeaderReader(limits.header_bytes)
        self._preface, self._greeted = Preface(), False  # by settings, which come first
        self._last = 0  # stream
        self._resets, self._changes = OwnBucket(*_ODDITIES), OwnBucket(*_ODDITIES)
        self._patience = Patience(limits, time.monotonic())
        self._closing = False  # takes no new streams

    @property
    def receivers(self) -> Iterator[Receiver]:
        """Of the streams under way."""
        return iter([stream.receiver for stream in self._streams.values() if stream.receiver is not None])

    def leave(self) -> None:
        """Sends the client elsewhere. What it sends until it has read that is answered still."""
        if not self._patience.leaving and not self._closing:
            self._patience.leave(time.monotonic())
            self.write(frames.goaway(frames.LAST_STREAM, ErrorCode.NO_ERROR))
            self.write(frames.frame(Kind.PING, 0, 0, _LEAVING))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, now: float) -> None:
        """Ends what has taken too long."""
        due = self._patience.due(now)
        if self._transport is None:
            return
        if self._transport.is_closing():
            if due is Due.STUCK or now - self._patience.heard > self._limits.body_seconds:
                self.abort()
        elif due in (Due.STUCK, Due.GONE):
            self._refused("answer_not_taken" if due is Due.STUCK else "gone")
            self.abort()
        elif due is Due.SILENT:
            self._refused("silent")
            self._end(ErrorCode.NO_ERROR, "nothing was said")
        elif due is Due.DISMISSED:
            self._close()
        elif due is Due.PING:
            self.write(frames.frame(Kind.PING, 0, 0, bytes(8)))
        for stream in tuple(self._streams.values()):
            stream.sweep(now, self._limits.body_seconds)

    # For streams.

    def send(self, stream: Stream, parts: Parts) -> None:
        self._patience.forgive()
        self._sender.fill(stream, parts)
        self._write(parts)
        self._close_if_done()

    def write(self, data: bytes) -> None:
        self._write([data])

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        self._sender.forget(stream)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)
        if len(self._connections) > self._limits.connections:
            self._refused("too_many")
            self._end(ErrorCode.ENHANCE_YOUR_CALM, "too many connections are open; connect again later")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        self._lose_all()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._patience.heard = time.monotonic()
        if not self._preface:
            try:
                data = self._preface.without(data)
            except StrangerError as stranger:
                self._on_stranger(stranger)
                return
            if self._preface:  # not earlier: an answer to HTTP/1.1 would begin with them
                self.write(greeting.settings(self._limits))
        super().data_received(data)
        self._close_if_done()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience.stuck = time.monotonic()
        if self._transport is not None:  # who does not read is not read either: what it is owed must not pile up
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._patience.stuck = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        super().resume_writing()
        self._close_if_done()

    def _on_stranger(self, stranger: StrangerError) -> None:
        self._refused("not_grpc")
        if stranger.http1:
            self.write(self._http1)
            self._hang_up()
        else:
            self._end(ErrorCode.PROTOCOL_ERROR, str(stranger))

    # Frames.

    def _on_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if not self._greeted:
            if kind != Kind.SETTINGS or flags & frames.ACK:
                raise ProtocolError("SETTINGS come first")
            self._greeted = True
            self._patience.greeted()
        super()._on_frame(kind, flags, number, payload)

    def _on_headers(self, flags: int, number: int, block: bytes) -> None:
        headers = self._headers.read(block)
        if (known := self._streams.get(number)) is not None:  # trailers, which say nothing in gRPC
            if known.ended or not flags & frames.END_STREAM:
                raise ProtocolError("HEADERS after the end of their stream", ErrorCode.STREAM_CLOSED)
            known.end()
            return
        if number % 2 == 0:
            raise ProtocolError("a stream that no client may open")
        if number <= self._last:  # trailers of a stream that we have closed
            return
        self._last = number
        if self._closing:
            return
        if len(self._streams) >= self._limits.streams:
            self.write(frames.reset(number, ErrorCode.REFUSED_STREAM))
            return
        stream = Stream(self, number, self._limits.window)
        stream.ended = bool(flags & frames.END_STREAM)
        if (receiver := self._accept(stream, headers)) is not None:
            stream.receiver = receiver
            self._streams[number] = stream
            if stream.ended:
                stream.end()

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        if (stream := self._streams.get(number)) is not None:
            stream.take(flags, payload)
        else:
            self._check_known(number)

    def _on_window(self, number: int, size: int) -> None:
        if number:
            self._check_known(number)
        super()._on_window(number, size)

    def _on_reset(self, number: int, code: int) -> None:
        self._check_known(number)
        if (stream := self._streams.get(number)) is not None:
            stream.lose()
        if self._resets.take() > 0:
            self.leave()  # in peace: some who cancel much mean it

    def _check_known(self, number: int) -> None:
        if number == 0 or number > self._last or number % 2 == 0:
            raise ProtocolError("a frame of a stream that was never opened")

    def _on_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            self._headers.acknowledged = True
            return
        if self._changes.take() > 0:
            raise ProtocolError("too many settings", ErrorCode.ENHANCE_YOUR_CALM)
        super()._on_settings(flags, payload)

    def _on_ping(self, flags: int, payload: bytes) -> None:
        super()._on_ping(flags, payload)
        if flags & frames.ACK:
            if payload == _LEAVING and self._patience.leaving:
                self._close()
        elif not self._patience.bears_ping():
            raise ProtocolError("too_many_pings", ErrorCode.ENHANCE_YOUR_CALM)

    # Ends.

    def _on_broken(self, error: ProtocolError) -> None:
        self._refused("broken_protocol")
        self._end(error.code, str(error))

    def _close(self) -> None:
        """Takes no new streams, and ends once those under way are answered."""
        self._closing = True
        self._patience.left()
        self.write(frames.goaway(self._last, ErrorCode.NO_ERROR))
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._closing and not self._streams:
            self._hang_up()

    def _end(self, code: ErrorCode, reason: str) -> None:
        """Now, whatever is under way."""
        self._closing = True
        self.write(frames.goaway(self._last, code, reason))
        self._lose_all()
        self._hang_up()

    def _lose_all(self) -> None:
        for stream in tuple(self._streams.values()):
            stream.lose()
