"""How each error code reads in gRPC: one table."""

from typing import NoReturn

import grpc
import grpc.aio

from service.errors import Code, ServiceError

STATUS: dict[Code, grpc.StatusCode] = {
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.INVALID_INPUT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Code.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Code.CANCELLED: grpc.StatusCode.CANCELLED,
    Code.BACKEND: grpc.StatusCode.INTERNAL,
}
_LONGEST = 1024  # characters; longer ones are cut, as TensorFlow Serving does


async def abort(context: "grpc.aio.ServicerContext[object, object]", error: ServiceError) -> NoReturn:
    message = error.message if len(error.message) <= _LONGEST else error.message[: _LONGEST - 1] + "…"
    await context.abort(STATUS[error.code], message)
    raise AssertionError("abort always raises")
