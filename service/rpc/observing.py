"""Around every unary gRPC call: an id that goes back to the client, and an account of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from inspect import iscoroutinefunction
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio

from service import current
from service.access import Access
from service.current import REQUEST_ID, TRACEPARENT, TRACESTATE

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"

_received: ContextVar[int] = ContextVar("received", default=0)


class Observing(grpc.aio.ServerInterceptor):
    """Sizes are taken where messages are bytes: in a handler's (de)serializers, which run in the call's own task."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._wrapped: dict[str, tuple[_Handler, _Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Found:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not iscoroutinefunction(handler.unary_unary):
            return self._refused(method, handler)
        known, wrapped = self._wrapped.get(method, (None, handler))
        if known is not handler:
            wrapped = self._observed(method, handler)
            self._wrapped[method] = handler, wrapped
        return wrapped

    def _observed(self, method: str, handler: _Handler) -> _Handler:
        behaviour = cast(Callable[[Any, Any], Awaitable[Any]], handler.unary_unary)
        parse = cast(Callable[[bytes], Any], handler.request_deserializer)
        write = cast(Callable[[Any], bytes], handler.response_serializer)

        def deserialize(data: bytes) -> Any:
            _received.set(len(data))
            return parse(data)

        async def answer(message: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            request = _entered(context)
            request.received = _received.get()
            try:
                return await behaviour(message, context)
            except BaseException as error:
                self._access.finished(request, method, _status(context, error), 0)
                raise

        def serialize(reply: Any) -> bytes:
            data = write(reply)
            self._access.finished(current.get(), method, "OK", len(data))
            return data

        return grpc.unary_unary_rpc_method_handler(answer, deserialize, serialize)

    def _refused(self, method: str, handler: _Found) -> _Found:
        """An interceptor's refusal comes as a stream that only fails; real streams are left alone."""
        if handler is None or not iscoroutinefunction(handler.stream_stream):
            return handler
        behaviour = handler.stream_stream

        async def refuse(messages: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
            request = _entered(context)
            try:
                await behaviour(messages, context)
            except BaseException as error:
                self._access.finished(request, method, _status(context, error), 0)
                raise

        return grpc.stream_stream_rpc_method_handler(refuse)


def _entered(context: "grpc.aio.ServicerContext[Any, Any]") -> current.Current:
    metadata = dict(context.invocation_metadata() or ())
    request = current.enter("grpc", *(_text(metadata.get(name)) for name in _HEADERS))
    context.set_trailing_metadata(((REQUEST_ID, request.request_id),))
    return request


def _status(context: "grpc.aio.ServicerContext[Any, Any]", error: BaseException) -> str:
    if isinstance(code := context.code(), grpc.StatusCode):  # a call that was aborted
        return code.name
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "UNKNOWN"


_HEADERS = (REQUEST_ID, TRACEPARENT, TRACESTATE)


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""
