"""POST /embed/<model>: an image in, the features that the model classifies it by out."""

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.api.http.errors import DOCUMENTED
from service.api.http.json_answer import encode_arrays
from service.api.http.openapi import DescribedRoute, Model, VersionAsked, describe_answer
from service.api.http.request import build_headers
from service.api.predict.query import read_target
from service.api.predict.schema import BODY, Embeddings
from service.api.predict.similarity import find_features, predict_features
from service.predictor import Predictor

SHAPE = "x-embeddings-shape"
"""The header of a raw answer: rows and columns, as "2,1280"."""

_PATH = "/embed/{model}"
_RAW = "application/octet-stream"
_DESCRIBED = describe_answer(Embeddings)[200]
_ANSWER: dict[int | str, Any] = {
    200: _DESCRIBED | {"content": {_RAW: {"schema": {"type": "string", "format": "binary"}}}}
}


def make_route(predictor: Predictor) -> Route:
    """What answers: Starlette's own, as for /predict."""

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

    return Route(_PATH, answer, methods=["POST"], include_in_schema=False)


def make_documented_router() -> APIRouter:
    """The same for /docs and /openapi.json: `make_route`'s takes every request."""
    routes = APIRouter(responses=DOCUMENTED, route_class=DescribedRoute)

    @routes.post(_PATH, openapi_extra=BODY, responses=_ANSWER, response_model=None)
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

    return routes


def _accepts_raw(request: Request) -> bool:
    return _RAW in request.headers.get("accept", "").lower()
