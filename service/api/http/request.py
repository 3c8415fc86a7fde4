"""What HTTP tells of a request beside its message: its context, and the headers of its answer."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext

from starlette.requests import Request
from starlette.types import Scope

from service.errors import InvalidInput
from service.observability.context import RequestContext, Trace
from service.predictor import Admitted, Predictor
from service.types import NOBODY, Caller, ModelRef, PredictResult

DEADLINE = "x-request-deadline-ms"
ROUTING_KEY = "x-routing-key"
SERVED_BY = "x-served-by"
TRACE, CALLER, ARRIVED, DISCONNECT = "trace", "caller", "arrived", "disconnect"
"""Where a request's scope has its `Trace`, its `Caller`, when it arrived (`time.monotonic()`), its `Disconnect`."""


@asynccontextmanager
async def admit(predictor: Predictor, request: Request, ref: ModelRef) -> AsyncIterator[Admitted]:
    """`predictor.admit`, given up as soon as the client disconnects: the answer is for nobody then.

    Raises ServiceError.
    """
    scope = request.scope
    context = build_context(request.headers, scope[TRACE], find_caller(request), scope.get(ARRIVED))
    disconnect = scope.get(DISCONNECT)
    with nullcontext() if disconnect is None else disconnect.cancels_task():
        async with predictor.admit(context, ref) as admitted:
            yield admitted


def build_context(headers: Mapping[str, str], trace: Trace, caller: Caller, arrived: float | None) -> RequestContext:
    """`arrived` is a `time.monotonic()`, None where nobody knows. Raises InvalidInput for a deadline that is none."""
    if arrived is None:
        arrived = time.monotonic()
    return RequestContext(trace, caller, _read_deadline(headers, arrived), headers.get(ROUTING_KEY, ""), arrived)


def find_caller(request: Request) -> Caller:
    """Nobody where keys are needed and no middleware has looked for one."""
    caller: Caller = request.scope.get(CALLER, NOBODY)
    return caller


def find_path(scope: Scope) -> str:
    """The decoded path that routes see: without the prefix that a proxy has this service below."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def find_media_type(request: Request) -> str:
    """What Content-Type says a body is, in lower case and without parameters; empty where it says nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def build_headers(result: PredictResult) -> dict[str, str]:
    """Of an answer: who gave it, and the milliseconds of each stage."""
    stages = result.timings.stages().items()
    return {
        SERVED_BY: ", ".join(map(str, result.served_by)),
        "server-timing": ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in stages),
    }


def _read_deadline(headers: Mapping[str, str], arrived: float) -> float | None:
    text = headers.get(DEADLINE)
    if text is None:
        return None
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = -1.0
    if not 0 < milliseconds < 1e9:
        raise InvalidInput(f"invalid {DEADLINE}: expected milliseconds above 0, got {text[:40]!r}")
    return arrived + milliseconds / 1000
