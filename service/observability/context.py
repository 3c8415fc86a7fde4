"""What travels with a request: its context, made at the edge and handed down, with the trace of what is known of it.

A context variable holds the trace for log lines and for calls to upstreams, and for nothing else. A batch works for all
of its requests and carries the first one's.
"""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Protocol

from service.errors import ServiceError
from service.types import NOBODY, Caller, ModelRef

REQUEST_ID, TRACEPARENT, TRACESTATE = "x-request-id", "traceparent", "tracestate"
HEADERS = (REQUEST_ID, TRACEPARENT, TRACESTATE)
"""Those that `begin_trace` takes, in its order."""
OK = "OK"

_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_SAMPLED = tuple("13579bdf")  # last digit of a traceparent's flags
_LONGEST_STATE = 512  # characters, as W3C has it

Described = tuple[Mapping[str, str | int], bool]
"""Attributes by OpenTelemetry's semantic conventions, and whether the server is to blame."""
Metadata = tuple[tuple[str, str], ...]


class Span(Protocol):
    """A piece of a trace under way; `service.observability.tracing` has the real one."""

    @property
    def traceparent(self) -> str:
        """Names it to the next server, in W3C's form."""

    def upstream(self, target: str) -> "Span":
        """A child that starts now."""

    def end(self, code: str, stages: Mapping[str, float]) -> None:
        """`stages` (seconds) become children, back to back until now. `code` is an error's, or OK."""


class Tracing(Protocol):
    def begin(self, request: "Trace") -> None:
        """Gives the request a span."""

    def close(self) -> None:
        """Sends what is left, within a bounded time."""


@dataclass(eq=False, slots=True)
class Trace:
    """What is known of a request so far, for logs, metrics and spans.

    `client` is the client's `traceparent`, `received` the bytes of its body. `ref` is the version found last, and once
    there is an answer the one that gave it; `answered` is when (`time.monotonic()`). `describe` is the edge's: what a
    span says of a request that ends with a code.
    """

    protocol: str
    request_id: str = ""
    client: str = ""
    tracestate: str = ""
    began: float = field(default_factory=time.monotonic)
    received: int = 0
    ref: ModelRef | None = None
    answered: float | None = None
    span: Span | None = None
    describe: Callable[[str], "Described"] | None = None

    @property
    def traceparent(self) -> str:
        """Our own span's while traces are on, else the client's."""
        return self.span.traceparent if self.span is not None else self.client

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]

    @property
    def exemplar(self) -> str:
        """The trace's id where it will be found at the collector."""
        traceparent = self.traceparent if self.span is not None else ""
        return traceparent[3:35] if traceparent.endswith(_SAMPLED) else ""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What an edge knows of a request before its body is read.

    `deadline` is a `time.monotonic()`, and so is `arrived`, where the edge can tell that the event loop came to the
    request late. Requests with the same `routing_key` go the same way where traffic is split.
    """

    trace: Trace
    caller: Caller = NOBODY
    deadline: float | None = None
    routing_key: str = ""
    arrived: float | None = None

    @property
    def protocol(self) -> str:
        """The edge's name: "http" or "grpc"."""
        return self.trace.protocol

    @property
    def request_id(self) -> str:
        return self.trace.request_id

    @property
    def seconds_left(self) -> float | None:
        return None if self.deadline is None else self.deadline - time.monotonic()


_current: ContextVar[Trace | None] = ContextVar("current", default=None)


def begin_trace(protocol: str, request_id: str, traceparent: str, tracestate: str) -> Trace:
    """A new request's. Headers that are none of theirs are left out."""
    if not _ID.fullmatch(request_id):
        # os.urandom gives Python's lock up, and the loop then waits for a thread that computes.
        request_id = f"{random.getrandbits(128):032x}"
    if traceparent and not _TRACEPARENT.fullmatch(traceparent):
        traceparent = ""
    return Trace(protocol, request_id, traceparent, tracestate[:_LONGEST_STATE] if traceparent else "")


def renew_trace(trace: Trace) -> Trace:
    """For another question in the same request."""
    return replace(trace, began=time.monotonic(), ref=None, answered=None, span=None)


def set_trace(trace: Trace) -> None:
    """From here on, log lines and upstream calls of this task, and of those it starts, belong to `trace`."""
    _current.set(trace)


@contextmanager
def traced(trace: Trace) -> Iterator[None]:
    """`set_trace`, for as long as the context lasts."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


def get_trace() -> Trace:
    """That of the request under way; an empty one where there is none."""
    return _current.get() or Trace("")


@contextmanager
def call_upstream(target: str) -> Iterator[Metadata]:
    """The metadata of a call to `target`, which is a span of its own where traces are on."""
    request = get_trace()
    span = request.span.upstream(target) if request.span is not None else None
    said = (
        (REQUEST_ID, request.request_id),
        (TRACEPARENT, span.traceparent if span is not None else request.traceparent),
        (TRACESTATE, request.tracestate),
    )
    code: str = "CANCELLED"
    try:
        yield tuple(pair for pair in said if pair[1])
        code = OK
    except ServiceError as error:
        code = error.code
        raise
    except Exception as error:
        code = type(error).__name__
        raise
    finally:
        if span is not None:
            span.end(code, {})
