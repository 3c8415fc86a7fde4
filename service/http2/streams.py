"""One exchange as its server sees it: what arrives goes to a receiver, what it answers goes out as windows allow."""

import asyncio
import time
from typing import Protocol

from service.http2 import frames
from service.http2.frames import ErrorCode, ProtocolError
from service.http2.sending import Outgoing, Parts


class Receiver(Protocol):
    """Gets a request as it arrives, and answers through its stream whenever it wants."""

    def on_data(self, payload: bytes) -> None: ...

    def on_end(self) -> None:
        """The request is whole."""
        ...

    def on_late(self) -> None:
        """The request has not become whole in the time that it may take."""
        ...

    def on_lost(self) -> None:
        """The client has given up, or is gone: nobody can be answered."""
        ...


class Owner(Protocol):
    """The connection of a stream."""

    def send(self, stream: "Stream", parts: Parts) -> None: ...

    def write(self, data: bytes) -> None: ...

    def forget(self, stream: "Stream") -> None: ...


class Stream(Outgoing):
    """`open` until it is answered or lost, `ended` once the request is whole; its client may send `room` more bytes."""

    __slots__ = ("_answered", "_owner", "_seen", "_since", "ended", "flushed", "open", "receiver", "room")

    def __init__(self, owner: Owner, number: int, room: int) -> None:
        super().__init__(number)
        self._owner = owner
        self._answered = False
        self._since, self._seen = time.monotonic(), 0
        self.open, self.ended, self.room = True, False, room
        self.receiver: Receiver | None = None  # while it is open: the two know each other
        self.flushed: asyncio.Future[None] | None = None

    def send(self, head: bytes = b"", body: bytes = b"", trailers: bytes = b"") -> None:
        """Header blocks and data, in one write as far as windows allow. Trailers end the answer."""
        if not self.open or self._answered:
            return
        parts: Parts = [frames.headers(0, self.number, head)] if head else []
        if body:
            self.unsent = memoryview(body)
        if trailers:
            self._answered = True
            self.ending = frames.headers(frames.END_STREAM, self.number, trailers)
            if not self.ended:  # the client need not go on
                self.ending += frames.reset(self.number, ErrorCode.NO_ERROR)
        self._owner.send(self, parts)

    def drop(self) -> None:
        """What is still unsent."""
        self.unsent = memoryview(b"")

    async def flush(self) -> None:
        """Until everything is on its way. Others have their turn, whoever has how much room."""
        await asyncio.sleep(0)
        while self.open and self.unsent:
            self.flushed = asyncio.get_running_loop().create_future()
            await self.flushed

    def sent(self) -> None:
        if self._answered:
            self._close()
        if self.flushed is not None and not self.flushed.done():
            self.flushed.set_result(None)

    def refill(self, size: int) -> None:
        """Lets the client send as much again."""
        if self.open and not self.ended:
            self.room += size
            self._owner.write(frames.window_update(self.number, size))

    def take(self, flags: int, payload: bytes) -> None:
        """DATA. Raises ProtocolError."""
        if self.ended:
            raise ProtocolError("DATA after the end of its stream", ErrorCode.STREAM_CLOSED)
        size = len(payload)
        self.room -= size
        if self.room < 0:
            raise ProtocolError("more DATA than its window allows", ErrorCode.FLOW_CONTROL_ERROR)
        if flags & frames.PADDED:
            payload = frames.unpadded(frames.PADDED, payload)
            self.refill(size - len(payload))
        if self.receiver is not None:
            self.receiver.on_data(payload)
        if flags & frames.END_STREAM and self.open:
            self.end()

    def end(self) -> None:
        """The request is whole."""
        self.ended, self._since = True, time.monotonic()
        if self.receiver is not None:
            self.receiver.on_end()

    def lose(self) -> None:
        """Nothing more comes from here, nothing more is sent."""
        receiver = self.receiver
        self._close()
        if receiver is not None:
            receiver.on_lost()

    def _close(self) -> None:
        self.open, self.receiver = False, None
        self._owner.forget(self)

    def sweep(self, now: float, seconds: float) -> None:
        """Ends what has waited for its client for so long: for the rest of a request, for room to answer."""
        if self.unsent:
            if len(self.unsent) != self._seen:
                self._seen, self._since = len(self.unsent), now
            elif now - self._since > seconds:
                self._owner.write(frames.reset(self.number, ErrorCode.CANCEL))
                self.lose()
        elif not self.ended and self.receiver is not None and now - self._since > seconds:
            self.receiver.on_late()
