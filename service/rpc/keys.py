"""Who asks over gRPC: told to the gate before any message is read."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from service.errors import Unauthenticated
from service.gate import Gate
from service.rpc import errors

_OPEN = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
}
"""What load balancers and Kubernetes need. It tells nothing of the models."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"  # generic for type checkers only


class KeyCheck(grpc.aio.ServerInterceptor):
    """Whatever is not listed above needs a key, methods that do not exist too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        details = handler_call_details
        metadata = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        try:
            self._gate.identify(metadata, "grpc", needed=details.method not in _OPEN)
        except Unauthenticated as error:
            return _refusal(error)
        return await continuation(details)


def _refusal(error: Unauthenticated) -> Handler:
    async def refuse(_: Any, context: Any) -> None:
        await errors.abort(context, error)

    # As a stream, whatever the method is: gRPC then ends the call without receiving its message first.
    return grpc.stream_stream_rpc_method_handler(refuse)
