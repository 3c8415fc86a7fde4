"""What the handler of a call is given, and how the call ends: answered, refused, too late or given up."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextvars import Context as Variables
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc

from service.http2.streams import Stream
from service.rpc.transport import status
from service.rpc.transport.heads import Head
from service.rpc.transport.methods import Method
from service.rpc.transport.status import Metadata, Refused, Value

_log = logging.getLogger("service.rpc")


class Steps(Protocol):
    """What is done for every call beside answering it."""

    def admit(self, head: Head) -> None:
        """Before any message is taken, in the context that the handler will run in. Raises Refused."""
        ...

    def began(self, call: "Context") -> None:
        """A unary call's message is there, and its handler next. In the call's task."""
        ...

    def ended(self, call: "Context", received: int, sent: int) -> None:
        """That call is over, with messages of so many bytes. Its code says how; none is OK."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """`message_bytes` at most, also once decompressed; `body_seconds` until a message must be there."""

    steps: Steps
    message_bytes: int
    body_seconds: float


class Aborted(Exception):
    """Leaves a handler that has called `abort`."""


class Context:
    """As much of a grpc.aio.ServicerContext as handlers here use."""

    _task: asyncio.Task[None] | None = None
    _timer: asyncio.TimerHandle | None = None
    _deadline: float | None = None
    _code: grpc.StatusCode | None = None
    _details = ""
    _trailing: tuple[tuple[str, Value], ...] = ()
    _begun = False  # to be answered

    def __init__(self, stream: Stream, head: Head, method: Method, rules: Rules, variables: Variables) -> None:
        self.head, self.method = head, method
        self._stream, self._rules, self._variables = stream, rules, variables
        self._loop = asyncio.get_running_loop()
        if head.timeout is not None:
            self._deadline = time.monotonic() + head.timeout
            self._timer = self._loop.call_later(head.timeout, self._expire)

    # For handlers.

    def time_remaining(self) -> float | None:
        """Seconds; None where the client sent no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def invocation_metadata(self) -> tuple[tuple[str, Value], ...]:
        return self.head.metadata

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        self._stream.send(self._first(metadata))

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self._trailing = tuple(metadata)

    def trailing_metadata(self) -> tuple[tuple[str, Value], ...]:
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def set_details(self, details: str) -> None:
        self._details = details

    def details(self) -> str:
        return self._details

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Ends the call and leaves the handler. The metadata join those that were set."""
        self._code, self._details = code, details
        self._trailing = (*self._trailing, *trailing_metadata)
        raise Aborted(details)

    # Ends.

    @property
    def _failed(self) -> bool:
        return self._code is not None and self._code is not grpc.StatusCode.OK

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """With an error, now, whatever the handler does."""
        if self._stream.open:
            self._code, self._details = code, details
            self._stream.drop()  # of a stream whose client does not read: it would wait behind that
            self._answer()
            self.on_lost()

    def on_lost(self) -> None:
        """Nobody waits for the handler any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _expire(self) -> None:
        self.end(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work, context=self._variables)

    def _answer(self, body: bytes = b"") -> None:
        """The last of it, with the status that was set; with an error nothing else."""
        if self._timer is not None:
            self._timer.cancel()
        end = status.trailers(self._code or grpc.StatusCode.OK, self._details, self._trailing)
        if body and not self._failed:
            self._stream.send(self._first(), body, end)
        else:
            self._stream.send(trailers=self._first() + end)

    def _first(self, metadata: Metadata = ()) -> bytes:
        """What the answer's first header block begins with."""
        if self._begun:
            return b""
        self._begun = True
        return status.HEAD + status.encode(metadata) if metadata else status.HEAD

    def _fail(self, error: Exception) -> None:
        """Sets the status for what a handler raised."""
        if isinstance(error, Refused):
            self._code, self._details = error.code, error.details
        elif self._code is None:
            self._code, self._details = grpc.StatusCode.UNKNOWN, f"unexpected {type(error).__name__}"
            _log.error("unexpected in %s", self.method.path, exc_info=error)

    def _parsed(self, data: bytes) -> Any:
        """Raises Refused."""
        try:
            return self.method.parse(data)
        except Exception as error:
            raise Refused(grpc.StatusCode.INTERNAL, "the request is no message of its method") from error
