"""One question over HTTP and what becomes of its answer, as flows (`retry`)."""

import array
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypedDict
from urllib.parse import quote

import httpx

from image_model_client.errors import ClientError, DeadlineExceeded, ServerFailed, Unreachable, find_class
from image_model_client.images import find_kind
from image_model_client.results import Embedding, Label, Model, Prediction
from image_model_client.retry import Flow, retry

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


class VersionOptions(TypedDict, total=False):
    """What every question about an image may say.

    `version` or `version_label` (a route's, or a precision) ask another version than the newest. `deadline` is in
    seconds from now, retries included; of many images, for each.
    """

    version: int | None
    version_label: str | None
    deadline: float | None


class LabelOptions(VersionOptions, total=False):
    """`top_k` is how many of the most probable labels are answered: 5."""

    top_k: int


class PredictOptions(LabelOptions, total=False):
    """`calibrated` makes probabilities mean what they say. `shrink` sends a large image no larger than the model
    needs.
    """

    calibrated: bool
    shrink: bool


@dataclass(frozen=True, slots=True)
class Options:
    """One question's options, with their defaults, and how often it may be asked again."""

    version: int | None = None
    version_label: str | None = None
    top_k: int = 5
    calibrated: bool = False
    shrink: bool = False
    deadline: float | None = None
    retries: int = 4

    @classmethod
    def choose(cls, kind: type, given: Mapping[str, Any], retries: int) -> Self:
        """`given` over the defaults. Raises TypeError for what `kind`, a TypedDict, does not have."""
        if unexpected := sorted(given.keys() - kind.__annotations__.keys()):
            raise TypeError(f"unexpected options {unexpected}; expected some of {sorted(kind.__annotations__)}")
        return cls(**given, retries=retries)

    def params(self) -> dict[str, str]:
        chosen = {"version": self.version, "label": self.version_label}
        return {name: str(value) for name, value in chosen.items() if value is not None}


def predict(model: str, image: bytes, options: Options) -> Flow[Prediction]:
    params = options.params() | {"top_k": str(options.top_k)}
    if options.calibrated:
        params["calibrated"] = "true"
    path = f"/predict/{quote(model, safe='')}"
    reply = yield from _ask(path, params, image, {}, options)
    answer = _parse(reply, path)
    try:
        row = (answer.get("predictions") or [{}])[0]
        top = tuple(Label(one["label"], read_probability(one["probability"])) for one in row.get("top_k", ()))
        name, version = str(answer["model"]), int(answer["version"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _find_stranger(reply, path) from error
    timings = read_timings(reply.headers.get("server-timing", ""))
    request_id = reply.headers.get("x-request-id", "")
    outputs = answer.get("outputs") or ({} if top else row)
    return Prediction(name, version, top, timings, request_id, outputs, answer)


def embed(model: str, image: bytes, options: Options, normalize: bool) -> Flow[Embedding]:
    params = options.params() | ({"normalize": "true"} if normalize else {})
    headers = {"Accept": "application/octet-stream"}
    path = f"/embed/{quote(model, safe='')}"
    reply = yield from _ask(path, params, image, headers, options)
    try:
        name, _, version = reply.headers["x-served-by"].rpartition("/")
        vector = array.array("f", reply.content)
        if sys.byteorder == "big":
            vector.byteswap()
        timings = read_timings(reply.headers.get("server-timing", ""))
        return Embedding(name, int(version), tuple(vector), timings, reply.headers.get("x-request-id", ""))
    except (KeyError, ValueError) as error:
        raise _find_stranger(reply, path) from error


def list_models(options: Options) -> Flow[list[Model]]:
    reply = yield from _exchange("GET", "/models", {}, b"", {}, options)
    try:
        return [Model(name, tuple(versions)) for name, versions in _parse(reply, "/models")["models"].items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise _find_stranger(reply, "/models") from error


def describe(model: str, options: Options) -> Flow[Mapping[str, Any]]:
    """What the service says of a model: states of its versions, manifest, batching."""
    path = f"/models/{quote(model, safe='')}"
    reply = yield from _exchange("GET", path, options.params(), b"", {}, options)
    return _parse(reply, path)


def read_timings(header: str) -> dict[str, float]:
    """A Server-Timing header -> milliseconds by stage. Parts of another form, which a proxy may add, are left out."""
    timings = {}
    for part in header.split(","):
        name, _, duration = part.strip().partition(";dur=")
        try:
            timings[name] = float(duration)
        except ValueError:
            continue
    return timings


def read_probability(value: float | None) -> float:
    """JSON has null for what is no number."""
    return math.nan if value is None else float(value)


def _ask(
    path: str, params: Mapping[str, str], image: bytes, headers: Mapping[str, str], options: Options
) -> Flow[httpx.Response]:
    return _exchange("POST", path, params, image, {"Content-Type": find_kind(image), **headers}, options)


def _exchange(
    method: str, path: str, params: Mapping[str, str], content: bytes, headers: Mapping[str, str], options: Options
) -> Flow[httpx.Response]:
    """The response, once it is a good one. Raises ClientError."""

    def build(seconds: float | None) -> Send:
        until = {} if seconds is None else {_DEADLINE: f"{max(1, 1000 * seconds):.0f}"}
        return Send(method, path, params, content, {**headers, **until}, seconds)

    return retry(build, lambda reply: _explain(reply, path), options.deadline, options.retries)


def _parse(reply: httpx.Response, path: str) -> dict[str, Any]:
    try:
        answer = reply.json()
    except ValueError as error:
        raise _find_stranger(reply, path) from error
    if not isinstance(answer, dict):
        raise _find_stranger(reply, path)
    return answer


def _find_stranger(reply: httpx.Response, path: str) -> ClientError:
    """The error where something in between answered, or something else altogether."""
    said = f"{path} was answered with {reply.status_code} {reply.reason_phrase}, and not by image-model-server"
    return ServerFailed(said, reply.status_code)


def _explain(reply: httpx.Response | httpx.RequestError, path: str) -> ClientError | None:
    if isinstance(reply, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return DeadlineExceeded("the service did not answer in time", 504, "DEADLINE")
    if not isinstance(reply, httpx.Response):
        return Unreachable(f"the service cannot be reached: {reply}; is it running, and is the address right?")
    if reply.is_success:
        return None
    message, code, detail = "", "", {}
    try:
        error = reply.json()["error"]
        message, code, detail = error["message"], error["code"], error.get("detail", {})
    except (ValueError, KeyError, TypeError):
        message = str(_find_stranger(reply, path))
    return find_class(reply.status_code)(
        message,
        reply.status_code,
        code,
        reply.headers.get("x-request-id", ""),
        detail,
        _read_retry_after(reply, detail),
    )


def _read_retry_after(reply: httpx.Response, detail: Mapping[str, Any]) -> float | None:
    """Seconds. The service's own milliseconds are finer than HTTP's whole seconds, and HTTP has dates too."""
    if isinstance(fine := detail.get("retry_after_ms"), int | float):
        return max(0.0, fine / 1000)
    text = reply.headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
