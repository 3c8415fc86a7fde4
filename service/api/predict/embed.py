"""POST /embed/<model>: an image in, the features that the model classifies it by out."""

from typing import Any, Literal

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.api.http.json_answer import encode_arrays
from service.api.http.openapi import Model, VersionAsked, add_post, describe_answer
from service.api.http.request import build_headers
from service.api.predict.query import read_target
from service.api.predict.schema import BODY, Embeddings
from service.api.predict.similarity import find_features, predict_features
from service.predictor import Predictor

SHAPE = "x-embeddings-shape"
"""The header of a raw answer: rows and columns, as "2,1280"."""

_RAW = "application/octet-stream"
_DESCRIBED = describe_answer(Embeddings)[200]
_ANSWER: dict[int | str, Any] = {
    200: _DESCRIBED | {"content": {_RAW: {"schema": {"type": "string", "format": "binary"}}}}
}


def attach(app: FastAPI, predictor: Predictor) -> None:
    async def answer(request: Request) -> Response:
        target = read_target("embed", request.path_params["model"], request.query_params)
        result = await predict_features(predictor, request, target.ref)
        features, headers = find_features(result, target.normalize), build_headers(result)
        if _accepts_raw(request):
            headers[SHAPE] = ",".join(map(str, features.shape))
            return Response(features.astype("<f4").tobytes(), media_type=_RAW, headers=headers)
        body = encode_arrays(
            {
                "model": result.ref.name,
                "version": result.ref.version,
                "dimensions": features.shape[1],
                "normalized": target.normalize,
                "embeddings": features,
            }
        )
        return Response(body, media_type="application/json", headers=headers)

    add_post(app, "/embed/{model}", answer, embed, openapi_extra=BODY, responses=_ANSWER)


async def embed(
    model: Model,
    version: VersionAsked = "",
    label: str | None = None,
    normalize: Literal["true", "false"] = "false",
) -> None:
    """The features of one image or several: what the model's last layer is given, float32. Bodies are those of
    `/predict`. `normalize=true` scales each row to length 1, so that a product of two rows is the cosine of their
    angle. With `Accept: application/octet-stream` the rows come as little-endian float32, one behind the other, and
    the header `X-Embeddings-Shape` says how many of what width.
    """


def _accepts_raw(request: Request) -> bool:
    return _RAW in request.headers.get("accept", "").lower()
