"""One HTTP/2 connection that carries unary gRPC calls.

grpc.aio's client wakes a thread for every call. It also hides what this one tells: that a connection is lost, at the
moment it is, and whether a failed call can have reached the peer at all. What the gateway adds: docs/gateway.md.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from functools import lru_cache, partial

from service.backends.upstream import calls
from service.backends.upstream.calls import CallFailed, Status
from service.current import Metadata
from service.http2 import frames, headers, messages
from service.http2.endpoint import Endpoint
from service.http2.frames import ErrorCode, ProtocolError, Setting
from service.http2.reading import HEADER_BYTES, Reader
from service.http2.sending import Outgoing, Parts


class _Stream(Outgoing):
    __slots__ = ("answer", "body", "head", "headers")

    def __init__(self, answer: "asyncio.Future[bytes]", head: bytes, message: bytes) -> None:
        super().__init__(0)
        self.answer, self.head = answer, head
        self.unsent, self.last = memoryview(message), frames.END_STREAM
        self.body: list[bytes] = []
        self.headers: Mapping[str, str] = {}


class Connection(Endpoint[_Stream]):
    """Made by `connect`; `usable` until the peer says good-bye or the connection is lost."""

    def __init__(self, scheme: str, authority: str) -> None:
        super().__init__(Reader())
        self._scheme, self._authority = scheme, authority
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Stream] = deque()  # for one of the streams that the peer allows
        self._next = 1
        self._most_streams = 100  # until the peer says otherwise
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
        stream = _Stream(answer, head, messages.message(message))
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
        if not self._streams:
            self._hang_up()

    def _open(self, stream: _Stream) -> None:
        stream.number, self._next = self._next, self._next + 2
        if self._next > frames.LAST_STREAM:  # after three days of 4,000 calls a second
            self._leaving = True
        self._streams[stream.number] = stream
        parts: Parts = [frames.headers(0, stream.number, stream.head)]
        self._sender.fill(stream, parts)
        self._write(parts)

    def _settled(self, stream: _Stream, answer: "asyncio.Future[bytes]") -> None:
        if answer.cancelled():
            if self._streams.get(stream.number) is stream:
                self._end(stream)
                self._write([frames.reset(stream.number, ErrorCode.CANCEL)])
            elif stream in self._waiting:
                self._waiting.remove(stream)

    def _end(self, stream: _Stream) -> None:
        self._streams.pop(stream.number, None)
        self._sender.forget(stream)
        while self._waiting and len(self._streams) < self._most_streams:
            self._open(self._waiting.popleft())
        if self._leaving and not self._streams:
            self._hang_up()

    def _fail(self, stream: _Stream, reason: str, *, unsent: bool, lost: bool = False) -> None:
        if not stream.answer.done():
            stream.answer.set_exception(CallFailed(Status.UNAVAILABLE, reason, unsent=unsent, lost=lost))

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        ours = {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: frames.LARGEST_WINDOW,
        }
        more = frames.LARGEST_WINDOW - frames.DEFAULT_WINDOW
        self._write([frames.PREFACE, frames.settings(ours), frames.window_update(0, more)])

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lose(f"the connection was lost ({exc or 'the peer closed it'})")

    def _lose(self, reason: str) -> None:
        self._leaving = True
        streams, waiting = list(self._streams.values()), list(self._waiting)
        self._streams.clear()
        self._waiting.clear()
        for stream in streams:
            self._sender.forget(stream)
            self._fail(stream, reason, unsent=False, lost=True)
        for stream in waiting:
            self._fail(stream, reason, unsent=True, lost=True)
        if self._transport is not None:
            self._transport.abort()

    # Frames.

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        if (stream := self._streams.get(number)) is not None:
            stream.body.append(frames.unpadded(flags, payload) if flags & frames.PADDED else payload)
            if flags & frames.END_STREAM:
                self._finish(stream, {})

    def _on_headers(self, flags: int, number: int, block: bytes) -> None:
        said = _mapping(block)
        if (stream := self._streams.get(number)) is None:
            return
        if flags & frames.END_STREAM:
            self._finish(stream, said)
        else:
            stream.headers = said

    def _finish(self, stream: _Stream, trailers: Mapping[str, str]) -> None:
        half_sent = bool(stream.unsent)
        self._end(stream)
        if half_sent:  # answered before it was asked in full, as a refusal may be
            self._write([frames.reset(stream.number, ErrorCode.CANCEL)])
        if stream.answer.done():
            return
        try:
            stream.answer.set_result(calls.read_answer(stream.headers, stream.body, trailers))
        except CallFailed as error:
            stream.answer.set_exception(error)

    def _on_setting(self, name: int, value: int, parts: Parts) -> None:
        super()._on_setting(name, value, parts)
        if name == Setting.MAX_CONCURRENT_STREAMS:
            self._most_streams = value

    def _on_settings(self, flags: int, payload: bytes) -> None:
        super()._on_settings(flags, payload)
        while self._waiting and len(self._streams) < self._most_streams:
            self._open(self._waiting.popleft())

    def _on_reset(self, number: int, code: int) -> None:
        if (stream := self._streams.get(number)) is not None:
            self._end(stream)
            if not stream.answer.done():
                refused = code == ErrorCode.REFUSED_STREAM
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
        if not self._streams:
            self._hang_up()

    def _on_broken(self, error: ProtocolError) -> None:
        self._lose(f"the peer broke the protocol: {error}")


@lru_cache(maxsize=256)
def _mapping(block: bytes) -> Mapping[str, str]:
    """Raises ProtocolError."""
    said = headers.read(block, HEADER_BYTES)
    if said is None:
        raise ProtocolError("headers without end")
    return dict(said)
