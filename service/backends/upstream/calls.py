"""What gRPC lays over HTTP/2 for a unary call: request headers, status, message, and how it fails."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from urllib.parse import unquote

from service.current import Metadata
from service.http2 import headers as blocks
from service.http2 import messages
from service.http2.frames import ProtocolError


class Status(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_HTTP = {401: Status.UNAUTHENTICATED, 403: Status.PERMISSION_DENIED, 404: Status.UNIMPLEMENTED} | dict.fromkeys(
    (429, 502, 503, 504), Status.UNAVAILABLE
)


class CallFailed(Exception):
    """Why a call has no answer. `unsent`: the peer has certainly not worked on it. `lost`: there was no connection, or
    it broke.
    """

    def __init__(self, status: Status, details: str, *, unsent: bool = False, lost: bool = False) -> None:
        super().__init__(f"{status.name}: {details}")
        self.status, self.details, self.unsent, self.lost = status, details, unsent, lost
        self.peer = ""  # whoever has several says which


@lru_cache(maxsize=64)
def _constant_headers(scheme: str, authority: str, path: str) -> bytes:
    pseudo = [(":method", "POST"), (":scheme", scheme), (":path", path), (":authority", authority)]
    return blocks.block([*pseudo, ("te", "trailers"), ("content-type", "application/grpc")])


def request_headers(scheme: str, authority: str, path: str, timeout: float | None, metadata: Metadata) -> bytes:
    """A header block. `timeout` in seconds."""
    said = metadata if timeout is None else (("grpc-timeout", _timeout(timeout)), *metadata)
    return _constant_headers(scheme, authority, path) + blocks.block(said)


def read_answer(headers: Mapping[str, str], body: Sequence[bytes], trailers: Mapping[str, str]) -> bytes:
    """The message of an answer that has ended. Raises CallFailed where it is none."""
    http = trailers.get(":status") or headers.get(":status", "")
    status = trailers.get("grpc-status")
    if status is None:
        code = _HTTP.get(int(http), Status.UNKNOWN) if http.isdigit() else Status.UNKNOWN
        raise CallFailed(code, f"an answer that is not gRPC (HTTP status {http or 'missing'})")
    if status != "0":
        known = status.isdigit() and int(status) <= max(Status)
        raise CallFailed(
            Status(int(status)) if known else Status.UNKNOWN, unquote(trailers.get("grpc-message", "")) or "no reason"
        )
    try:
        return messages.read_message(body[0] if len(body) == 1 else b"".join(body))
    except ProtocolError as error:
        raise CallFailed(Status.INTERNAL, str(error)) from error


def _timeout(seconds: float) -> str:
    """At most eight digits and a unit."""
    if seconds < 100:
        return f"{max(1, int(seconds * 1e6))}u"
    return f"{min(int(seconds), 10**8 - 1)}S"
