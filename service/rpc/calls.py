"""What gRPC says of a call beside its message: deadline and metadata, both ways."""

import time
from typing import Any

import grpc.aio

from service import current
from service.answering import Read
from service.messages import Call, ModelRef, PredictResult
from service.predictor import Predictor

ROUTING_KEY = "x-routing-key"
SERVED_BY = "x-served-by"


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


async def predict(
    predictor: Predictor, ref: ModelRef, context: "grpc.aio.ServicerContext[Any, Any]", read: Read
) -> PredictResult:
    """`predictor`'s answer; trailing metadata say who gave it where its `ref` does not. Raises ServiceError."""
    result = await predictor.predict(of(ref, context), read)
    if result.served_by != (result.ref,):
        said = ", ".join(map(str, result.served_by))
        context.set_trailing_metadata((*(context.trailing_metadata() or ()), (SERVED_BY, said)))
    return result


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""
