"""What is done for every gRPC call beside answering it: who asks, an id for the client, an account of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import grpc.aio

from service.api.grpc import errors, messages
from service.api.grpc.request import Context, UnaryCall
from service.api.grpc.stream import answer_in_order
from service.errors import ServiceError, Unauthenticated
from service.observability.access_log import Access
from service.observability.context import HEADERS, REQUEST_ID, Trace, begin_trace, renew_trace, set_trace
from service.security.authorizer import Gate
from service.types import Caller

_log = logging.getLogger("service.api.grpc")

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic for type checkers only
Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Behaviour: TypeAlias = Callable[[Any, UnaryCall], Awaitable[Any]]

_OPEN = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
}
"""What load balancers and Kubernetes need. It tells nothing of the models."""


class CallSteps(grpc.aio.ServerInterceptor):
    """Whatever is not listed above needs a key, where keys are needed at all, methods that do not exist too."""

    def __init__(self, access: Access, gate: Gate) -> None:
        self._access, self._gate = access, gate
        self._handlers: dict[str, Handler] = {}
        self.under_way = 0
        """Calls, and messages of streams, that are being answered."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Found:
        """Runs in the call's own task, before any message is read."""
        method = handler_call_details.method
        texts = {name: text for name, text in handler_call_details.invocation_metadata or () if isinstance(text, str)}
        trace = begin_trace("grpc", *(texts.get(name, "") for name in HEADERS))
        trace.describe = partial(errors.describe_span, method)
        set_trace(trace)
        try:
            caller = self._gate.identify(texts, "grpc", needed=method not in _OPEN)
        except Unauthenticated as error:
            return self._refuse(method, trace, error)
        if method not in self._handlers:
            found = await continuation(handler_call_details)
            if found is None:
                return None
            self._handlers[method] = messages.bound_handler(found) if _find_behaviour(found) is None else found
        handler = self._handlers[method]
        behaviour = _find_behaviour(handler)
        return handler if behaviour is None else self._account(method, handler, behaviour, trace, caller)

    def _refuse(self, method: str, trace: Trace, error: ServiceError) -> Handler:
        async def refuse(_: Any, context: Context) -> None:
            context.set_trailing_metadata(((REQUEST_ID, trace.request_id),))
            self._access.finished(trace, method, errors.STATUS[error.code].name, 0)
            await errors.abort(context, error)

        # As a stream, whatever the method is: gRPC then ends the call without receiving its message first.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def _account(self, method: str, handler: Handler, behaviour: Behaviour, trace: Trace, caller: Caller) -> Handler:
        """Takes and gives bytes: here their sizes are known. Each message of a stream is accounted for as a call."""
        parse = handler.request_deserializer or bytes
        serialize = handler.response_serializer or bytes

        async def account(data: bytes, context: Context, trace: Trace) -> bytes:
            call = UnaryCall(context, trace, caller)
            trace.received = len(data)
            context.set_trailing_metadata(((REQUEST_ID, trace.request_id),))
            self.under_way += 1
            status, reply = "OK", b""
            try:
                reply = serialize(await behaviour(await _parse(parse, data, context), call))
                if call.failure is not None:
                    status = errors.STATUS[call.failure].name
                return reply
            except asyncio.CancelledError:
                left = context.time_remaining()
                status = "CANCELLED" if left is None or left > 0 else "DEADLINE_EXCEEDED"
                raise
            except ServiceError as error:
                status = errors.STATUS[error.code].name
                await errors.abort(context, error)
            except grpc.aio.AbortError:
                status = _find_name(context.code())
                raise
            except Exception as error:
                status = "UNKNOWN"
                _log.error("unexpected in %s", method, exc_info=error)
                await _abort(context, grpc.StatusCode.UNKNOWN, f"unexpected {type(error).__name__}")
            finally:
                self.under_way -= 1
                self._access.finished(call.trace, method, status, len(reply))

        async def answer(data: bytes, context: Context, trace: Trace = trace) -> bytes:
            try:
                return await account(data, context, trace)
            except grpc.aio.AbortError as error:
                # gRPC keeps it in the call, to which its traceback leads: the message would stay until a collection.
                error.__context__ = error.__cause__ = None
                del data, context
                raise error.with_traceback(None) from None

        async def answer_message(data: bytes, context: Context) -> bytes:
            """In a task of its own."""
            renewed = renew_trace(trace)
            set_trace(renewed)
            return await answer(data, context, renewed)

        async def answer_stream(requests: AsyncIterator[bytes], context: Context) -> None:
            await answer_in_order(requests, lambda data: answer_message(data, context), context.write)

        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(answer_stream)
        return grpc.unary_unary_rpc_method_handler(answer)


def _find_behaviour(handler: Handler) -> Behaviour | None:
    """What answers one message of a call or of a stream; None for streams that go their own ways."""
    behaviour = handler.unary_unary or handler.stream_stream
    return cast(Behaviour, behaviour) if iscoroutinefunction(behaviour) else None


async def _parse(parse: Callable[[bytes], Any], data: bytes, context: Context) -> Any:
    try:
        return await messages.read(parse, data)
    except ServiceError:
        raise
    except Exception:
        await _abort(context, grpc.StatusCode.INTERNAL, "the request is no message of its method")


async def _abort(context: Context, code: grpc.StatusCode, details: str) -> NoReturn:
    await context.abort(code, details, context.trailing_metadata())
    raise AssertionError("abort returned")


def _find_name(code: Any) -> str:
    return code.name if isinstance(code, grpc.StatusCode) else str(code)
