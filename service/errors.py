"""Everything that can go wrong with a request, named once and without protocol words.

    ServiceError
    ├── NotFound       no such model or version
    │   └── UnknownSignature  the version is there, the signature is not
    ├── InvalidInput   wrong dtype, shape or name; malformed; undecodable image
    ├── TooLarge       body, also once decompressed; pixels
    ├── Unsupported    well formed, and nothing this server does
    ├── UnsupportedEncoding  a compression that is not read here
    ├── Unauthenticated  no API key, or one that is not valid
    ├── Forbidden      a valid key, for other models
    ├── RateLimited    this key's own limit
    ├── Overloaded     the queue is full, or the deadline cannot be met
    ├── NotReady       loading, draining, upstream unreachable
    │   └── Unloaded   the version went away after it was found: whoever asked for none gets another
    ├── DeadlineExceeded  an answer would come too late
    ├── Cancelled      the client went away: nobody reads this one
    └── BackendFailed  the model itself failed

Each edge owns one table from `Code` to its protocol (`api/http/errors.py`, `api/grpc/errors.py`).
"""

import heapq
import math
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self

_LONGEST = 2000  # characters of a message
_MOST_LISTED, _LONGEST_LISTED = 20, 60  # names, and characters of each


def listed(names: Collection[str]) -> str:
    """Names that a client sent, sorted, for an error: ['a', 'b']. Only a part of many, or of long ones."""
    first = heapq.nsmallest(_MOST_LISTED, names)
    shown = ", ".join(repr(name[:_LONGEST_LISTED]) for name in first)
    more = f", and {len(names) - len(first):,} more" if len(names) > len(first) else ""
    return f"[{shown}{more}]"


class Code(StrEnum):
    NOT_FOUND = "NOT_FOUND"
    UNKNOWN_SIGNATURE = "UNKNOWN_SIGNATURE"
    INVALID_INPUT = "INVALID_INPUT"
    TOO_LARGE = "TOO_LARGE"
    UNSUPPORTED = "UNSUPPORTED"
    UNSUPPORTED_ENCODING = "UNSUPPORTED_ENCODING"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    NOT_READY = "NOT_READY"
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"
    BACKEND = "BACKEND"


class ServiceError(Exception):
    """Base of every error a caller may see: `message` says what happened and what to do next.

    `detail` holds JSON-able facts for programs (the row, the limit, what is available). `retry_after` is in how many
    seconds the same request may fare better, None where nobody can say. `for_log` is what operators read instead of
    `message` where that must not tell all of it: clients must not see the addresses of upstreams.
    """

    code: ClassVar[Code]
    retry_after: float | None = None

    def __init__(self, message: str, *, for_log: str = "", **detail: Any) -> None:
        if len(message) > _LONGEST:  # a client's own words may be megabytes
            message = f"{message[:_LONGEST]}... ({len(message):,} characters)"
        super().__init__(message)
        self.message = message
        self.for_log = for_log or message
        self.detail: Mapping[str, Any] = detail

    def copy(self, message: str = "", **detail: Any) -> Self:
        """The same error with more `detail`, and with `message` where one is given."""
        copied = type(self).__new__(type(self), message or self.message)
        changed = {"message": message or self.message, "detail": {**self.detail, **detail}}
        copied.__dict__.update(self.__dict__ | changed)
        return copied


class NotFound(ServiceError):
    code = Code.NOT_FOUND


class UnknownSignature(NotFound):
    code = Code.UNKNOWN_SIGNATURE


class InvalidInput(ServiceError):
    code = Code.INVALID_INPUT


class TooLarge(ServiceError):
    code = Code.TOO_LARGE


class Unsupported(ServiceError):
    code = Code.UNSUPPORTED


class UnsupportedEncoding(ServiceError):
    code = Code.UNSUPPORTED_ENCODING


class Unauthenticated(ServiceError):
    code = Code.UNAUTHENTICATED


class Forbidden(ServiceError):
    code = Code.FORBIDDEN


class RateLimited(ServiceError):
    code = Code.RATE_LIMITED

    def __init__(self, message: str, retry_after: float, **detail: Any) -> None:
        super().__init__(message, retry_after_ms=math.ceil(retry_after * 1000), **detail)
        self.retry_after = retry_after


class Overloaded(ServiceError):
    """`retry_after_ms` among its details, where somebody could tell."""

    code = Code.OVERLOADED

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message, **detail)
        self.retry_after = detail.get("retry_after_ms", 1000) / 1000


class NotReady(ServiceError):
    code = Code.NOT_READY


class Unloaded(NotReady):
    """Its code is NotReady's: only a caller that may try another version tells them apart."""


class DeadlineExceeded(ServiceError):
    code = Code.DEADLINE


class Cancelled(ServiceError):
    code = Code.CANCELLED


class BackendFailed(ServiceError):
    code = Code.BACKEND
