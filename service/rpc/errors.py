"""How each error code reads in gRPC: one table."""

from typing import NoReturn

import grpc
import grpc.aio

from service.errors import Code, ServiceError

STATUS: dict[Code, grpc.StatusCode] = {
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.UNKNOWN_SIGNATURE: grpc.StatusCode.FAILED_PRECONDITION,  # TensorFlow Serving's choice
    Code.INVALID_INPUT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Code.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Code.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Code.CANCELLED: grpc.StatusCode.CANCELLED,
    Code.BACKEND: grpc.StatusCode.INTERNAL,
}
_LONGEST = 1024  # bytes, as in TensorFlow Serving: gRPC carries messages in headers, whose size peers bound
_CUT = "...TRUNCATED"


async def abort(context: "grpc.aio.ServicerContext[object, object]", error: ServiceError) -> NoReturn:
    message = error.message.encode(errors="replace")
    cut = message[:_LONGEST].decode(errors="ignore")
    await context.abort(STATUS[error.code], cut + _CUT if len(message) > _LONGEST else cut)
    raise AssertionError("abort always raises")
