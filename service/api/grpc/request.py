"""What gRPC tells of a call beside its message: its context, and the metadata of its answer."""

import time
from collections.abc import Sized
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import grpc.aio

from service.errors import Code, InvalidInput
from service.observability.context import RequestContext, Trace, renew_trace, set_trace
from service.predictor import Admitted, Predictor
from service.types import Caller, ModelRef, PredictResult

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

ROUTING_KEY = "x-routing-key"
SERVED_BY = "x-served-by"
_MOST_NAMED = 1000


class UnaryCall:
    """What a servicer's method gets beside its message. `trace` is that of its question, of several the last one's."""

    def __init__(self, context: Context, trace: Trace, caller: Caller) -> None:
        self._context, self.trace, self.caller = context, trace, caller
        self.failure: Code | None = None
        """What the answer itself says, where it is one although the question failed."""

    def admit(self, predictor: Predictor, ref: ModelRef) -> AbstractAsyncContextManager[Admitted]:
        """`predictor.admit` with this call's deadline and metadata."""
        left = self._context.time_remaining()
        deadline = None if left is None else time.monotonic() + left
        metadata = self._context.invocation_metadata() or ()
        key = next((str(value) for name, value in metadata if name == ROUTING_KEY), "")
        return predictor.admit(RequestContext(self.trace, self.caller, deadline, key), ref)

    def begin_question(self) -> None:
        """Before each further question in the same call."""
        self.trace = renew_trace(self.trace)
        set_trace(self.trace)

    def set_served_by(self, result: PredictResult) -> None:
        """Trailing metadata that say who answered, where the answer's own `ref` does not."""
        if result.served_by != (result.ref,):
            served_by = ", ".join(map(str, result.served_by))
            self._context.set_trailing_metadata((*self._context.trailing_metadata(), (SERVED_BY, served_by)))


def check_count(what: str, values: Sized) -> None:
    """Raises InvalidInput for more than any model has, before one of them is looked at."""
    if len(values) > _MOST_NAMED:
        raise InvalidInput(f"the request has {len(values):,} {what}; at most {_MOST_NAMED:,} are read")
