"""How each error code reads in gRPC: one table."""

import math
from typing import Any, NoReturn

import grpc

from service.errors import Code, ServiceError
from service.observability.context import OK, Described

STATUS: dict[Code, grpc.StatusCode] = {
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.UNKNOWN_SIGNATURE: grpc.StatusCode.FAILED_PRECONDITION,  # TensorFlow Serving's choice
    Code.INVALID_INPUT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Code.UNSUPPORTED_ENCODING: grpc.StatusCode.UNIMPLEMENTED,
    Code.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Code.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Code.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Code.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Code.CANCELLED: grpc.StatusCode.CANCELLED,
    Code.BACKEND: grpc.StatusCode.INTERNAL,
}
_TO_BLAME = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that OpenTelemetry's conventions for gRPC call a server's error."""
_LONGEST = 1024  # bytes, as in TensorFlow Serving: gRPC carries messages in headers, whose size peers bound
_CUT = "...TRUNCATED"
_PUSHBACK = "grpc-retry-pushback-ms"


def build_trailers(error: ServiceError) -> tuple[tuple[str, str], ...]:
    """When to ask again: in seconds, as HTTP says it, and in the milliseconds that gRPC's own retries obey."""
    if error.retry_after is None:
        return ()
    seconds = error.retry_after
    return ("retry-after", str(max(1, math.ceil(seconds)))), (_PUSHBACK, str(math.ceil(seconds * 1000)))


def describe_span(method: str, code: str) -> Described:
    """A call that ends with an error's code, or OK, as OpenTelemetry's conventions for RPC have it."""
    status = grpc.StatusCode.OK if code == OK else STATUS.get(Code(code), grpc.StatusCode.UNKNOWN)
    service, _, name = method.strip("/").partition("/")
    attributes: dict[str, str | int] = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": name,
        "rpc.grpc.status_code": status.value[0],
    }
    return attributes, status.name in _TO_BLAME


async def abort(context: Any, error: ServiceError) -> NoReturn:
    """Ends the call of a grpc.aio.ServicerContext and leaves its handler. The metadata join those that were set."""
    message = error.message.encode(errors="replace")
    cut = message[:_LONGEST].decode(errors="ignore")
    metadata = (*context.trailing_metadata(), *build_trailers(error))
    await context.abort(STATUS[error.code], cut + _CUT if len(message) > _LONGEST else cut, metadata)
    raise AssertionError("abort returned")
