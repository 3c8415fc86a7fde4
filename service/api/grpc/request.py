"""What gRPC says of a call beside its message: deadline and metadata, both ways."""

import time
from collections.abc import Sized

from service.api.grpc.interceptor import Context
from service.errors import InvalidInput
from service.models.executor import Read
from service.observability import context as current
from service.predictor import Predictor
from service.types import Call, ModelRef, PredictResult

ROUTING_KEY = "x-routing-key"
SERVED_BY = "x-served-by"


_MOST_NAMED = 1000


def check_count(what: str, values: Sized) -> None:
    """Raises InvalidInput for more than any model has, before one of them is looked at."""
    if len(values) > _MOST_NAMED:
        raise InvalidInput(f"the request has {len(values):,} {what}; at most {_MOST_NAMED:,} are read")


def of(ref: ModelRef, context: Context) -> Call:
    left = context.time_remaining()
    return Call(
        ref,
        protocol="grpc",
        deadline=None if left is None else time.monotonic() + left,
        key=str(next((value for name, value in context.invocation_metadata() or () if name == ROUTING_KEY), "")),
        request_id=current.get().request_id,
    )


async def predict(predictor: Predictor, ref: ModelRef, context: Context, read: Read) -> PredictResult:
    """`predictor`'s answer; trailing metadata say who gave it where its `ref` does not. Raises ServiceError."""
    result = await predictor.predict(of(ref, context), read)
    if result.served_by != (result.ref,):
        said = ", ".join(map(str, result.served_by))
        context.set_trailing_metadata((*context.trailing_metadata(), (SERVED_BY, said)))
    return result
