"""What is done for every gRPC call beside answering it: who asks, an id for the client, an account of it."""

import grpc

from service import current
from service.access import Access
from service.current import REQUEST_ID, TRACEPARENT, TRACESTATE, Current
from service.errors import Unauthenticated
from service.gate import Gate
from service.rpc import errors
from service.rpc.transport.context import Context
from service.rpc.transport.heads import Head
from service.rpc.transport.status import Refused

_OPEN = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
}
"""What load balancers and Kubernetes need. It tells nothing of the models."""


class CallSteps:
    """Whatever is not listed above needs a key, where keys are needed at all, methods that do not exist too."""

    def __init__(self, access: Access, gate: Gate) -> None:
        self._access, self._gate = access, gate

    def admit(self, head: Head) -> None:
        if not self._gate.needs_keys:
            return
        try:
            self._gate.identify(head.texts, "grpc", needed=head.path not in _OPEN)
        except Unauthenticated as error:
            request = _entered(head)
            code = errors.STATUS[error.code]
            self._access.finished(request, head.path, code.name, 0)
            said = (REQUEST_ID, request.request_id), *errors.trailers(error)
            raise Refused(code, error.message, said) from error

    def began(self, call: Context) -> None:
        call.set_trailing_metadata(((REQUEST_ID, _entered(call.head).request_id),))

    def ended(self, call: Context, received: int, sent: int) -> None:
        request = current.get()
        request.received = received
        self._access.finished(request, call.method.path, (call.code() or grpc.StatusCode.OK).name, sent)


def _entered(head: Head) -> Current:
    return current.enter("grpc", *(head.texts.get(name, "") for name in (REQUEST_ID, TRACEPARENT, TRACESTATE)))
