"""POST /predict/<model>: an image in, labels out."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from service.api.http.errors import DOCUMENTED
from service.api.http.openapi import SAMPLE_B64, DescribedRoute, Model, VersionAsked, describe_answer, describe_body
from service.api.http.request import admit, build_headers
from service.api.predict.body import parse_body
from service.api.predict.detections import BOXES, Choice, Photo, measure_photos, render_detections
from service.errors import InvalidInput
from service.predictor import Predictor
from service.repository import calibration
from service.repository.manifest import CLASSES, PROBABILITIES
from service.types import Array, ModelRef, PredictResult

_PATH = "/predict/{model}"
_TARGET = re.compile("/predict/([^/]+)")
_TOP_K = "5"
_PARAMETERS = ("version", "label", "top_k", "calibrated", "min_score", "max_detections")
# As TensorFlow's Object Detection API draws them (visualize_boxes_and_labels_on_image_array).
_MIN_SCORE, _MAX_DETECTIONS = "0.5", "20"
_SHARE = re.compile(r"[0-9]{0,4}\.?[0-9]{1,20}")
_SWITCH = {"true": True, "false": False}

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"image": _BINARY["schema"]}}}


class Instances(BaseModel):
    """An image is `{"b64": "..."}`; pixels and other numbers are nested lists, several inputs an object of them."""

    instances: list[Any] = Field(min_length=1)
    signature_name: str = ""


class Probability(BaseModel):
    label: str
    probability: float | None


class Prediction(BaseModel):
    """The most probable label, and the `top_k` most probable ones."""

    label: str
    probability: float | None
    top_k: list[Probability]


class Box(BaseModel):
    left: float
    top: float
    right: float
    bottom: float


class Detection(BaseModel):
    """`box` is in pixels of the upright photo, `normalized_box` in shares of its sides."""

    label: str
    class_: int = Field(alias="class")
    score: float
    box: Box
    normalized_box: Box


class Detections(BaseModel):
    """What an object detector finds in a photo of `width` and `height` pixels, the highest score first."""

    width: int
    height: int
    detections: list[Detection]


class Predictions(BaseModel):
    """One prediction an image, in their order; raw `outputs` of a model that is no classifier and no detector."""

    model: str
    version: int
    temperature: float | None = None
    predictions: list[Prediction | Detections] | None = None
    outputs: dict[str, Any] | None = None


REQUESTS = (Instances,)
_OTHERS = {
    "image/jpeg": _BINARY,
    "image/png": _BINARY,
    "application/octet-stream": _BINARY,
    "multipart/form-data": _FORM,
}
_BODY = describe_body(Instances, {"instances": [{"b64": SAMPLE_B64}]}, others=_OTHERS)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request's URL says: the model, how many labels of it, whether with calibrated probabilities, and which
    detections.
    """

    ref: ModelRef
    top_k: int
    calibrated: bool
    detections: Choice


def make_route(predictor: Predictor) -> Route:
    """What answers. Starlette's own: FastAPI's search for four strings was a quarter of all that ran on the event loop
    for a small image (cProfile).
    """

    async def answer(request: Request) -> Response:
        target = _read_target(request.path_params["model"], request.query_params)
        async with admit(predictor, request, target.ref) as admitted:
            if target.calibrated:
                _check_temperature(admitted.manifest.temperature, target.ref)
            asked = await parse_body(request, admitted.manifest)
            result = await admitted.predict(asked)
        photos = measure_photos(admitted.manifest, asked) if BOXES in result.outputs else []
        body = json.dumps(_render(result, target, photos), allow_nan=False)
        return Response(body, media_type="application/json", headers=build_headers(result))

    return Route(_PATH, answer, methods=["POST"], include_in_schema=False)


def find_ref(scope: Scope) -> ModelRef | None:
    """The model that is asked; None where the target is another route's. Raises InvalidInput for a bad query."""
    found = _TARGET.fullmatch(scope["path"])
    if found is None:
        return None
    query = scope["query_string"]
    return _read_target(found[1], QueryParams(query)).ref if query else ModelRef(found[1])


def make_documented_router() -> APIRouter:
    """The same for /docs and /openapi.json: `make_route`'s takes every request."""
    routes = APIRouter(responses=DOCUMENTED, route_class=DescribedRoute)

    @routes.post(_PATH, openapi_extra=_BODY, responses=describe_answer(Predictions), response_model=None)
    async def predict(
        model: Model,
        version: VersionAsked = "",
        label: str | None = None,
        top_k: Annotated[int, Query(ge=1, lt=10**6)] = int(_TOP_K),
        calibrated: Literal["true", "false"] = "false",
        min_score: Annotated[float, Query(ge=0, le=1)] = float(_MIN_SCORE),
        max_detections: Annotated[int, Query(ge=1, lt=10**6)] = int(_MAX_DETECTIONS),
    ) -> None:
        """Classifies one image or several. The newest version answers unless `version` or `label` says otherwise;
        `top_k` labels come back for each image, most probable first. `calibrated=true` applies the temperature
        that the version's export fitted, so that a probability of 0.8 is right in about 80 of 100 cases; the answer
        says which. `Server-Timing` has the milliseconds of each stage. An object detector
        answers with the `max_detections` best boxes of each image whose score is at least `min_score`, in pixels of the
        upright photo and as shares of it. Any other model answers with its raw `outputs`.
        """

    return routes


def _read_target(model: str, query: QueryParams) -> Target:
    """Raises InvalidInput, also for a parameter that does not exist: one that is misspelt would be without effect."""
    for name in query:
        if name not in _PARAMETERS:
            raise InvalidInput(f"invalid query: expected parameters among {', '.join(_PARAMETERS)}, got {name[:40]!r}")
    top = _parse_count("top_k", query.get("top_k", _TOP_K))
    calibrated = _parse_switch("calibrated", query.get("calibrated", "false"))
    choice = Choice(
        _parse_share("min_score", query.get("min_score", _MIN_SCORE)),
        _parse_count("max_detections", query.get("max_detections", _MAX_DETECTIONS)),
    )
    return Target(ModelRef.parse(model, query.get("version"), query.get("label")), top, calibrated, choice)


def _parse_count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0):
        raise InvalidInput(f"invalid {name}: expected a whole number from 1, got {text[:40]!r}")
    return int(text)


def _parse_share(name: str, text: str) -> float:
    if not _SHARE.fullmatch(text) or float(text) > 1:
        raise InvalidInput(f"invalid {name}: expected a number from 0 to 1, got {text[:40]!r}")
    return float(text)


def _parse_switch(name: str, text: str) -> bool:
    if text not in _SWITCH:
        raise InvalidInput(f"invalid {name}: expected true or false, got {text[:40]!r}")
    return _SWITCH[text]


def _check_temperature(temperature: float | None, ref: ModelRef) -> float:
    if temperature is None:
        raise InvalidInput(
            f"model {str(ref)!r} has no temperature to calibrate its probabilities with: its export fitted none, or "
            "several models answer; leave calibrated=true out"
        )
    return temperature


def _render(result: PredictResult, target: Target, photos: Sequence[Photo]) -> dict[str, Any]:
    answer: dict[str, Any] = {"model": result.ref.name, "version": result.ref.version}
    probabilities = result.outputs.get(PROBABILITIES)
    if target.calibrated:  # another version may have answered than the one that let the request in
        answer["temperature"] = _check_temperature(result.temperature, result.ref)
    if probabilities is not None and probabilities.ndim == 2:
        labels = _labels(result, probabilities.shape[1])
        shown = calibration.scale(probabilities, answer["temperature"]) if target.calibrated else probabilities
        rows = zip(probabilities, shown, strict=True)
        return answer | {"predictions": [_top(row, told, labels, target.top_k) for row, told in rows]}
    detections = render_detections(result.outputs, photos, result.labels, target.detections)
    if detections is not None:
        return answer | {"predictions": detections}
    return answer | {"outputs": {alias: _plain(array) for alias, array in result.outputs.items()}}


def _labels(result: PredictResult, count: int) -> list[str]:
    if len(result.labels) == count:
        return list(result.labels)
    classes = result.outputs.get(CLASSES)  # an upstream's: the same in every row
    if classes is not None and classes.ndim == 2 and classes.shape[1] == count:
        return [_text(value) for value in classes[0]]
    return [str(index) for index in range(count)]


def _top(row: Array, shown: Array, labels: list[str], top_k: int) -> dict[str, Any]:
    """The order is that of `row`; `shown` are the same probabilities, calibrated or not."""
    order = np.argsort(-row, kind="stable")[:top_k]
    top = [{"label": labels[index], "probability": _number(shown[index])} for index in order]
    return {**top[0], "top_k": top}


def _number(value: Any) -> float | None:
    """Seven significant digits, all that float32 has; null for what JSON has no number for."""
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _plain(array: Array) -> Any:
    if array.dtype == object:
        return [_plain(row) for row in array] if array.ndim > 1 else [_text(value) for value in array.ravel()]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = array.astype(object)
        array[~np.isfinite(array.astype(float))] = None
    return array.tolist()


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
