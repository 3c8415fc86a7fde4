"""The request that the running code works for: made at its edge, filled in on the way, read by logs and upstream calls.

It travels in a context variable. A batch works for all of its requests and carries the first one's.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Protocol

from service.errors import ServiceError
from service.types import ModelRef

REQUEST_ID, TRACEPARENT, TRACESTATE = "x-request-id", "traceparent", "tracestate"
HEADERS = (REQUEST_ID, TRACEPARENT, TRACESTATE)
"""What `enter` is told of, in its order."""
OK = "OK"

_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_SAMPLED = tuple("13579bdf")  # last digit of a traceparent's flags
_LONGEST_STATE = 512  # characters, as W3C has it

Metadata = tuple[tuple[str, str], ...]


class Span(Protocol):
    """A piece of a trace under way; `service.observability.tracing` has the real one."""

    @property
    def traceparent(self) -> str:
        """Names it to the next server, in W3C's form."""
        ...

    def upstream(self, target: str) -> "Span":
        """A child that starts now."""
        ...

    def end(self, code: str, stages: Mapping[str, float]) -> None:
        """`stages` (seconds) become children, back to back until now. `code` is an error's, or OK."""
        ...


class Tracing(Protocol):
    def begin(self, request: "Current") -> None:
        """Gives the request a span."""
        ...

    def close(self) -> None:
        """Sends what is left, within a bounded time."""
        ...


@dataclass(eq=False, slots=True)
class Current:
    """`ref` is the version that answers, once known; `answered` when its answer was there (`time.monotonic()`).

    `client` is the client's `traceparent`.
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
    asked: bool = False

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


_current: ContextVar[Current | None] = ContextVar("current", default=None)


def enter(protocol: str, request_id: str, traceparent: str, tracestate: str) -> Current:
    """A new request, from here on in this task and those it starts. Headers that are none of theirs are left out."""
    if not _ID.fullmatch(request_id):
        request_id = os.urandom(16).hex()
    if traceparent and not _TRACEPARENT.fullmatch(traceparent):
        traceparent = ""
    made = Current(protocol, request_id, traceparent, tracestate[:_LONGEST_STATE] if traceparent else "")
    _current.set(made)
    return made


def ask(protocol: str) -> Current:
    """The request under way, about to be answered; one of its own where this is not the first question in it."""
    request = get()
    if request.asked:
        request = replace(request, began=time.monotonic(), ref=None, answered=None, span=None)
        _current.set(request)
    request.protocol, request.asked = protocol, True
    return request


def get() -> Current:
    """The request under way; an empty one where there is none."""
    return _current.get() or Current("")


@contextmanager
def upstream(target: str) -> Iterator[Metadata]:
    """What to send along with a call to `target`, which is a span of its own where traces are on."""
    request = get()
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
