"""What both ends of an HTTP/2 connection do alike: whole frames in, windows and settings obeyed, pings answered."""

import asyncio
from abc import ABC, abstractmethod
from typing import Generic, TypeVar, cast

from service.http2 import frames
from service.http2.frames import ErrorCode, Kind, ProtocolError
from service.http2.reading import Reader
from service.http2.sending import Outgoing, Parts, Sender

_ALONE = 1  # streams under way with which a write goes at once: most are of one that goes on, or of the last one

StreamT = TypeVar("StreamT", bound=Outgoing)


class Endpoint(asyncio.Protocol, ABC, Generic[StreamT]):
    """Whoever inherits says what DATA, HEADERS and RST_STREAM mean, and what to do with a peer that errs."""

    def __init__(self, reader: Reader) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = reader
        self._streams: dict[int, StreamT] = {}
        self._sender = Sender()
        self._unacknowledged = 0
        self._outbox: Parts = []

    def _write(self, parts: Parts) -> None:
        """Together with what others have to say in this turn of the event loop, where there are others."""
        waiting = bool(self._outbox)
        self._outbox += parts
        if len(self._streams) <= _ALONE:
            self._flush()
        elif not waiting:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if outbox and self._transport is not None:
            self._transport.write(b"".join(outbox))

    def _hang_up(self) -> None:
        """Once everything has been sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        try:
            for kind, flags, number, payload in self._reader.feed(data):
                self._on_frame(kind, flags, number, payload)
        except ProtocolError as error:
            self._on_broken(error)

    def pause_writing(self) -> None:
        self._sender.paused = True

    def resume_writing(self) -> None:
        self._sender.paused = False
        parts: Parts = []
        self._sender.resume(None, parts)
        self._write(parts)

    # Frames.

    def _on_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == Kind.DATA:
            self._take(len(payload))
            self._on_data(flags, number, payload)
        elif kind == Kind.HEADERS:
            self._on_headers(flags, number, payload)
        elif kind == Kind.WINDOW_UPDATE:
            self._on_window(number, frames.uint32(payload) & frames.LARGEST_WINDOW)
        elif kind == Kind.RST_STREAM:
            self._on_reset(number, frames.uint32(payload))
        elif kind == Kind.PING:
            self._on_ping(flags, payload)
        elif kind == Kind.SETTINGS:
            self._on_settings(flags, payload)
        elif kind == Kind.GOAWAY:
            self._on_goaway(frames.uint32(payload) & frames.LAST_STREAM)
        elif kind == Kind.PUSH_PROMISE:
            raise ProtocolError("a push, which nobody may send here")

    def _take(self, size: int) -> None:
        """Of the connection's window: streams have bounds of their own, so it is refilled whatever becomes of them."""
        self._unacknowledged += size
        if self._unacknowledged > frames.LARGEST_WINDOW // 2:
            self._write([frames.window_update(0, self._unacknowledged)])
            self._unacknowledged = 0

    def _on_window(self, number: int, size: int) -> None:
        stream = self._streams.get(number)
        if (number == 0 or stream is not None) and self._sender.widen(stream, size):
            parts: Parts = []
            self._sender.resume(stream, parts)
            self._write(parts)

    def _on_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ProtocolError("a PING of a wrong size", ErrorCode.FRAME_SIZE_ERROR)
        if not flags & frames.ACK:
            self._write([frames.frame(Kind.PING, frames.ACK, 0, payload)])

    def _on_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        parts: Parts = [frames.frame(Kind.SETTINGS, frames.ACK, 0)]
        for name, value in frames.read_settings(payload):
            self._on_setting(name, value, parts)
        self._write(parts)

    def _on_setting(self, name: int, value: int, parts: Parts) -> None:
        self._sender.obey(name, value, self._streams.values(), parts)

    @abstractmethod
    def _on_data(self, flags: int, number: int, payload: bytes) -> None: ...

    @abstractmethod
    def _on_headers(self, flags: int, number: int, block: bytes) -> None: ...

    @abstractmethod
    def _on_reset(self, number: int, code: int) -> None: ...

    def _on_goaway(self, last: int) -> None:
        """The peer opens no more streams, and looks at ours up to `last`."""

    @abstractmethod
    def _on_broken(self, error: ProtocolError) -> None: ...
