"""POST /similar/<model>: an image in, the training images out that it resembles most."""

from typing import Annotated, Any

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.http.json_answer import encode
from service.api.http.openapi import Model, VersionAsked, add_post, describe_answer
from service.api.http.request import build_headers
from service.api.predict.query import TOP_K, read_target
from service.api.predict.schema import BODY, Similar
from service.api.predict.similarity import find_features, find_index, find_known, predict_features
from service.api.predict.values import list_labels, show_number
from service.predictor import Predictor
from service.types import PredictResult


def attach(app: FastAPI, predictor: Predictor) -> None:
    async def answer(request: Request) -> Response:
        target = read_target("similar", request.path_params["model"], request.query_params)
        result = await predict_features(predictor, request, target.ref)
        body = encode(_render(result, target.top_k))
        return Response(body, media_type="application/json", headers=build_headers(result))

    add_post(app, "/similar/{model}", answer, similar, openapi_extra=BODY, responses=describe_answer(Similar))


async def similar(
    model: Model,
    version: VersionAsked = "",
    label: str | None = None,
    top_k: Annotated[int, Query(ge=1, lt=10**6)] = int(TOP_K),
) -> None:
    """The `top_k` training images most like each image, with their labels and the cosine of the angle between the
    features: a person sees why the model answers as it does. The export chose which of them lie beside the version,
    1,000 by default. Bodies are those of `/predict`. `known` says whether the nearest one is near; it is left out
    where the export found no threshold for that.
    """


def _render(result: PredictResult, top_k: int) -> dict[str, Any]:
    nearest = find_index(result).find_nearest(find_features(result, False), top_k)
    labels = list_labels(result, len(result.labels))
    rows: list[dict[str, Any]] = [
        {
            "neighbours": [
                {"name": each.name, "label": labels[each.label], "similarity": show_number(each.similarity)}
                for each in row
            ]
        }
        for row in nearest
    ]
    if result.known_threshold is not None:
        rows = [{"known": known, **row} for known, row in zip(find_known(result), rows, strict=True)]
    return {"model": result.ref.name, "version": result.ref.version, "similar": rows}
