"""What gRPC says of a call beside its message: deadline and metadata."""

import time
from typing import Any

import grpc.aio

from service import current
from service.messages import Call, ModelRef

ROUTING_KEY = "x-routing-key"


def of(ref: ModelRef, context: "grpc.aio.ServicerContext[Any, Any]") -> Call:
    left = context.time_remaining()
    metadata = dict(context.invocation_metadata() or ())
    return Call(
        ref,
        protocol="grpc",
        deadline=None if left is None else time.monotonic() + left,
        key=_text(metadata.get(ROUTING_KEY)),
        request_id=current.get().request_id,
    )


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""
