"""POST /predict/<model>: an image in, labels out."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.http.json_answer import encode_arrays
from service.api.http.openapi import Model, VersionAsked, add_post, describe_answer
from service.api.http.request import admit, build_headers
from service.api.predict.body import parse_question
from service.api.predict.detections import Photo, is_detector, measure_photos, render_detections
from service.api.predict.query import MAX_DETECTIONS, MIN_SCORE, TOP_K, Target, read_target
from service.api.predict.schema import BODY, Predictions
from service.api.predict.seen import draw_seen
from service.api.predict.similarity import check_known, find_features, find_known
from service.api.predict.values import list_labels, show_number, show_text
from service.errors import InvalidInput
from service.predictor import Predictor
from service.repository import calibration
from service.repository.manifest import PROBABILITIES
from service.types import Array, ModelRef, PredictResult


def attach(app: FastAPI, predictor: Predictor) -> None:
    async def answer(request: Request) -> Response:
        target = read_target("predict", request.path_params["model"], request.query_params)
        async with admit(predictor, request, target.ref) as admitted:
            if target.calibrated:
                _check_temperature(admitted.manifest.temperature, target.ref)
            if target.known:
                check_known(admitted.manifest.known_threshold, target.ref)
            if target.features:
                admitted.manifest.check_features()
            question = request, admitted.manifest, target.candidates, target.features or target.known
            if is_detector(admitted.manifest) or target.seen:
                asked = await parse_question(*question)
                seen = await draw_seen(predictor, admitted.manifest, target.ref, asked) if target.seen else None
                result = await admitted.predict(asked)
                photos = measure_photos(admitted.manifest, asked) if is_detector(admitted.manifest) else []
            else:  # no name holds the body while it is predicted
                result, photos, seen = await admitted.predict(await parse_question(*question)), [], None
        answer = _render(result, target, photos) | ({"seen": seen} if seen else {})
        body = encode_arrays(answer) if target.features else json.dumps(answer, allow_nan=False)
        return Response(body, media_type="application/json", headers=build_headers(result))

    add_post(app, "/predict/{model}", answer, predict, openapi_extra=BODY, responses=describe_answer(Predictions))


async def predict(
    model: Model,
    version: VersionAsked = "",
    label: str | None = None,
    top_k: Annotated[int, Query(ge=1, lt=10**6)] = int(TOP_K),
    calibrated: Literal["true", "false"] = "false",
    features: Literal["true", "false"] = "false",
    normalize: Literal["true", "false"] = "false",
    known: Literal["true", "false"] = "false",
    seen: Literal["true", "false"] = "false",
    min_score: Annotated[float, Query(ge=0, le=1)] = float(MIN_SCORE),
    max_detections: Annotated[int, Query(ge=1, lt=10**6)] = int(MAX_DETECTIONS),
    labels: str | None = None,
    template: str | None = None,
) -> None:
    """Classifies one image or several. The newest version answers unless `version` or `label` says otherwise;
    `top_k` labels come back for each image, most probable first. `calibrated=true` applies the temperature that the
    version's export fitted, so that a probability of 0.8 is right in about 80 of 100 cases; the answer says which.
    `features=true` adds what `/embed` answers to each prediction, from the same run of the model, and
    `normalize=true` scales it to length 1. `known=true` says of each image whether it is like those that the model
    learnt from: false for 1 in 20 of these. `seen=true` adds what the model is given for the one image of the
    request, upright and of the model's size, as a PNG in base64. `Server-Timing` has the milliseconds of each
    stage. An object detector answers with the `max_detections` best boxes of each image whose score is at least
    `min_score`, in pixels of the upright photo and as shares of it. A model that compares images with texts (CLIP)
    answers among `labels`, which are separated by commas; each is put into `template`, such as `a photo of a {}`.
    Any other model answers with its raw `outputs`.
    """


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
        labels = list_labels(result, probabilities.shape[1])
        shown = calibration.scale(probabilities, answer["temperature"]) if target.calibrated else probabilities
        rows = zip(probabilities, shown, strict=True)
        predictions = [_top(row, told, labels, target.top_k) for row, told in rows]
        if target.known:
            for prediction, known in zip(predictions, find_known(result), strict=True):
                prediction["known"] = known
        if target.features:
            for prediction, row in zip(predictions, find_features(result, target.normalize), strict=True):
                prediction["features"] = row
        return answer | {"predictions": predictions}
    detections = render_detections(result.outputs, photos, result.labels, target.detections)
    if detections is not None:
        return answer | {"predictions": detections}
    return answer | {"outputs": {alias: _plain(array) for alias, array in result.outputs.items()}}


def _top(row: Array, shown: Array, labels: list[str], top_k: int) -> dict[str, Any]:
    """The order is that of `row`; `shown` are the same probabilities, calibrated or not."""
    order = np.argsort(-row, kind="stable")[:top_k]
    top = [{"label": labels[index], "probability": show_number(shown[index])} for index in order]
    return {**top[0], "top_k": top}


def _plain(array: Array) -> Any:
    if array.dtype == object:
        return [_plain(row) for row in array] if array.ndim > 1 else [show_text(value) for value in array.ravel()]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = array.astype(object)
        array[~np.isfinite(array.astype(float))] = None
    return array.tolist()
