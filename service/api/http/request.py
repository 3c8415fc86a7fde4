"""What HTTP says of a call beside its message, its body's bytes, and whether anybody still waits for the answer."""

import asyncio
import time
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from service.api.http import errors
from service.errors import Cancelled, InvalidInput
from service.models.executor import Read
from service.predictor import Predictor
from service.repository.manifest import Manifest
from service.types import Call, ModelRef, PredictRequest, PredictResult

DEADLINE = "x-request-deadline-ms"
ROUTING_KEY = "x-routing-key"
ARRIVED = "arrived"
"""Where a request's scope has the moment at which it arrived."""


def of(ref: ModelRef, request: Request) -> Call:
    """Raises InvalidInput for a deadline that is no number of milliseconds."""
    return make_call(ref, request.headers, request.scope.get(errors.REQUEST_ID, ""), request.scope.get(ARRIVED))


def make_call(ref: ModelRef, headers: Mapping[str, str], request_id: str, arrived: float | None) -> Call:
    """`arrived` is a `time.monotonic()`, None where nobody knows. Raises InvalidInput for a deadline that is none."""
    if arrived is None:
        arrived = time.monotonic()
    return Call(ref, "http", _deadline(headers, arrived), headers.get(ROUTING_KEY, ""), request_id, arrived)


def media_type(request: Request) -> str:
    """What Content-Type says a body is, in lower case and without parameters; empty where it says nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def body(request: Request) -> bytes:
    """Raises Cancelled where the client goes away while it sends, and what the middleware says of its body."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise Cancelled("the client went away while it sent its request") from error


async def predict(predictor: Predictor, call: Call, request: Request, read: Read) -> PredictResult:
    """`predictor`'s answer, given up as soon as the client disconnects, which can be told once `read` has its body.

    Raises Cancelled for a client that has gone: the answer is for nobody.
    """
    arrived = asyncio.Event()

    async def read_whole(manifest: Manifest) -> PredictRequest:
        try:
            return await read(manifest)
        finally:
            arrived.set()

    waiting = asyncio.current_task()
    assert waiting is not None
    watch = asyncio.ensure_future(_disconnected(request, arrived))
    watch.add_done_callback(lambda watch: None if watch.cancelled() else waiting.cancel())
    try:
        result = await predictor.predict(call, read_whole)
    except asyncio.CancelledError:
        if watch.done() and waiting.uncancel() == 0:  # by us, and by nobody else
            raise Cancelled("the client went away") from None
        raise
    finally:
        watch.cancel()
    request.scope[errors.SERVED_BY] = ", ".join(map(str, result.served_by))  # a header, for every protocol
    return result


def server_timing(result: PredictResult) -> str:
    """The header Server-Timing: milliseconds of each stage."""
    return ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in result.timings.stages().items())


async def _disconnected(request: Request, arrived: asyncio.Event) -> None:
    await arrived.wait()
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _deadline(headers: Mapping[str, str], arrived: float) -> float | None:
    text = headers.get(DEADLINE)
    if text is None:
        return None
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = -1.0
    if not 0 < milliseconds < 1e9:
        raise InvalidInput(f"{DEADLINE} is a number of milliseconds from now, got {text[:40]!r}")
    return arrived + milliseconds / 1000
