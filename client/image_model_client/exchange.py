"""One call to the service, its retries and what becomes of its answer, without any input or output of its own.

A flow is a generator: it yields what is to be done next, `Send` or `Wait`, is given the response, and returns the
result. `Client` and `AsyncClient` carry flows out; all that they know is written here once.
"""

import array
import random
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from image_model_client.errors import DeadlineExceeded, Refused, Unreachable, find_class
from image_model_client.images import find_kind
from image_model_client.results import Embedding, Label, Model, Prediction

_AGAIN = (429, 503)
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0  # seconds, where the service does not say how long
_DEADLINE = "X-Request-Deadline-Ms"


@dataclass(frozen=True, slots=True)
class Send:
    """`seconds` is how long the answer may take; None where the client's own timeouts hold."""

    method: str
    path: str
    params: Mapping[str, str]
    content: bytes
    headers: Mapping[str, str]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


T = TypeVar("T")
Reply = httpx.Response | httpx.TransportError
Flow = Generator[Send | Wait, Reply | None, T]


@dataclass(frozen=True, slots=True)
class Options:
    """Which version of a model is asked, how, and until when. `deadline` is in seconds from the call, retries included.
    `label` is a version's label, as in routes.
    """

    version: int | None = None
    label: str | None = None
    top_k: int = 5
    calibrated: bool = False
    deadline: float | None = None
    retries: int = 4

    def params(self) -> dict[str, str]:
        chosen = {"version": self.version, "label": self.label}
        return {name: str(value) for name, value in chosen.items() if value is not None}


def predict(model: str, image: bytes, options: Options) -> Flow[Prediction]:
    params = options.params() | {"top_k": str(options.top_k)}
    if options.calibrated:
        params["calibrated"] = "true"
    reply = yield from _ask(f"/predict/{quote(model, safe='')}", params, image, {}, options)
    answer = reply.json()
    rows = answer.get("predictions") or [{}]
    top = tuple(Label(one["label"], one["probability"]) for one in rows[0].get("top_k", ()))
    return Prediction(
        answer["model"],
        answer["version"],
        top,
        read_timings(reply.headers.get("server-timing", "")),
        reply.headers.get("x-request-id", ""),
        answer.get("outputs", {}),
        answer,
    )


def embed(model: str, image: bytes, options: Options, normalize: bool) -> Flow[Embedding]:
    params = options.params() | ({"normalize": "true"} if normalize else {})
    headers = {"Accept": "application/octet-stream"}
    reply = yield from _ask(f"/embed/{quote(model, safe='')}", params, image, headers, options)
    vector = array.array("f", reply.content)
    if sys.byteorder == "big":
        vector.byteswap()
    name, _, version = reply.headers.get("x-served-by", f"{model}/0").rpartition("/")
    timings = read_timings(reply.headers.get("server-timing", ""))
    return Embedding(name, int(version), tuple(vector), timings)


def list_models(options: Options) -> Flow[list[Model]]:
    reply = yield from _exchange("GET", "/models", {}, b"", {}, options)
    return [Model(name, tuple(versions)) for name, versions in reply.json()["models"].items()]


def describe(model: str, options: Options) -> Flow[Mapping[str, Any]]:
    """What the service says of a model: states of its versions, manifest, batching."""
    reply = yield from _exchange("GET", f"/models/{quote(model, safe='')}", options.params(), b"", {}, options)
    described: Mapping[str, Any] = reply.json()
    return described


def read_timings(header: str) -> dict[str, float]:
    """A Server-Timing header -> milliseconds by stage."""
    parts = (part.strip().partition(";dur=") for part in header.split(",") if ";dur=" in part)
    return {name: float(duration) for name, _, duration in parts}


def _ask(
    path: str, params: Mapping[str, str], image: bytes, headers: Mapping[str, str], options: Options
) -> Flow[httpx.Response]:
    return _exchange("POST", path, params, image, {"Content-Type": find_kind(image), **headers}, options)


def _exchange(
    method: str, path: str, params: Mapping[str, str], content: bytes, headers: Mapping[str, str], options: Options
) -> Flow[httpx.Response]:
    """The response, once it is a good one. Raises ClientError."""
    end = None if options.deadline is None else time.monotonic() + options.deadline
    wait = _FIRST_WAIT
    for left in range(options.retries, -1, -1):
        seconds = _find_time_left(end)
        told = {} if seconds is None else {_DEADLINE: f"{1000 * seconds:.0f}"}
        reply = yield Send(method, path, params, content, {**headers, **told}, seconds)
        if isinstance(reply, httpx.Response) and reply.is_success:
            return reply
        error = _explain(reply, path)
        again = isinstance(error, Unreachable) or (isinstance(error, Refused) and error.status in _AGAIN)
        pause = getattr(error, "retry_after", None)
        pause = wait * random.uniform(0.5, 1.5) if pause is None else pause
        if left == 0 or not again or (end is not None and time.monotonic() + pause >= end):
            raise error
        yield Wait(pause)
        wait = min(2 * wait, _LONGEST_WAIT)
    raise AssertionError("the last try returns or raises")


def _find_time_left(end: float | None) -> float | None:
    if end is None:
        return None
    if (left := end - time.monotonic()) <= 0.001:
        raise DeadlineExceeded("the deadline passed before the service was asked", 504, "DEADLINE")
    return left


def _explain(reply: Reply | None, path: str) -> Refused | Unreachable:
    if isinstance(reply, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return DeadlineExceeded("the service did not answer in time", 504, "DEADLINE")
    if not isinstance(reply, httpx.Response):
        return Unreachable(f"the service cannot be reached: {reply}; is it running, and is the address right?")
    message, code, detail = "", "", {}
    try:
        error = reply.json()["error"]
        if isinstance(error, str):
            message = error
        else:
            message, code, detail = error["message"], error["code"], error.get("detail", {})
    except (ValueError, KeyError, TypeError):
        message = f"{path} was answered with {reply.status_code} {reply.reason_phrase}, and not by image-model-server"
    return find_class(reply.status_code)(
        message,
        reply.status_code,
        code,
        reply.headers.get("x-request-id", ""),
        detail,
        _read_retry_after(reply, detail),
    )


def _read_retry_after(reply: httpx.Response, detail: Mapping[str, Any]) -> float | None:
    """Seconds. The service's own milliseconds are finer than HTTP's whole seconds."""
    if isinstance(fine := detail.get("retry_after_ms"), int | float):
        return max(0.0, fine / 1000)
    try:
        return max(0.0, float(reply.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
