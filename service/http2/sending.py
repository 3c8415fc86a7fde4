"""Flow control: what of a message may be sent now, and what waits until its peer makes room."""

from collections.abc import Iterable

from service.http2 import frames
from service.http2.frames import ErrorCode, Kind, ProtocolError, Setting

Parts = list[bytes | memoryview]


class Outgoing:
    """What is to be sent on one stream: `unsent`, whose last frame has the flags `last`, then the frames in `ending`.

    `credit` is by how much the stream's window differs from what the peer gives every stream at first.
    """

    __slots__ = ("credit", "ending", "last", "number", "unsent")

    def __init__(self, number: int) -> None:
        self.number = number
        self.credit = self.last = 0
        self.unsent = memoryview(b"")
        self.ending = b""

    def sent(self) -> None:
        """Called once everything has been sent."""


class Sender:
    """The windows of one connection. While it is `paused` (too much is on its way already) no DATA leave."""

    def __init__(self) -> None:
        self.paused = False
        self._window = self._first = frames.DEFAULT_WINDOW
        self._frame_size = frames.LARGEST_FRAME
        self._waiting: dict[int, Outgoing] = {}  # for the connection; those that wait for their own window are told

    def fill(self, stream: Outgoing, parts: Parts) -> None:
        """Adds to `parts` what may be sent of a stream now."""
        unsent = stream.unsent
        while size := len(unsent):
            if self.paused or self._window <= 0:
                self._waiting[stream.number] = stream
                break
            size = min(size, self._frame_size, self._window, self._first + stream.credit)
            if size <= 0:
                break
            flags = stream.last if size == len(unsent) else 0
            parts += (frames.HEAD.pack(size >> 8, size & 0xFF, Kind.DATA, flags, stream.number), unsent[:size])
            unsent = unsent[size:]
            stream.credit -= size
            self._window -= size
        stream.unsent = unsent
        if not unsent:
            if stream.ending:
                parts.append(stream.ending)
                stream.ending = b""
            stream.sent()

    def forget(self, stream: Outgoing) -> None:
        self._waiting.pop(stream.number, None)

    def resume(self, stream: Outgoing | None, parts: Parts) -> None:
        """Adds what no longer has to wait, of one stream or of all that wait for the connection."""
        if stream is not None:
            self.fill(stream, parts)
            return
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            if each.unsent:
                self.fill(each, parts)

    def widen(self, stream: Outgoing | None, size: int) -> bool:
        """A WINDOW_UPDATE, of the connection where there is no stream: may more be sent now? Raises ProtocolError."""
        if size == 0:
            raise ProtocolError("a WINDOW_UPDATE of nothing")
        if stream is None:
            self._window += size
            window, more = self._window, bool(self._waiting)
        else:
            stream.credit += size
            window, more = self._first + stream.credit, bool(stream.unsent)
        if window > frames.LARGEST_WINDOW:
            raise ProtocolError("a window larger than any may be", ErrorCode.FLOW_CONTROL_ERROR)
        return more

    def obey(self, name: int, value: int, streams: Iterable[Outgoing], parts: Parts) -> None:
        """A setting of the peer's. Raises ProtocolError."""
        if name == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.LARGEST_WINDOW:
                raise ProtocolError("a window larger than any may be", ErrorCode.FLOW_CONTROL_ERROR)
            self._first = value
            for stream in tuple(streams):
                if stream.unsent:
                    self.fill(stream, parts)
        elif name == Setting.MAX_FRAME_SIZE:
            if not frames.LARGEST_FRAME <= value < 2**24:
                raise ProtocolError("a size of frames that none may have")
            self._frame_size = value
