"""Open Inference Protocol v2 ("KServe v2") over HTTP: /v2/..., for its clients and Triton's."""

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from service import version as about
from service.api.http import large_json
from service.api.http.json_answer import Json, encode
from service.api.http.json_values import LARGE
from service.api.http.openapi import Model, describe_body, document_answer
from service.api.http.request import admit, build_headers, find_caller
from service.api.oip import protocol, schema, triton
from service.api.oip.rest_bodies import Asked, parse_body, parse_only_ready, render_reply
from service.errors import InvalidInput, NotReady, Unsupported
from service.predictor import Predictor
from service.repository.manifest import Manifest
from service.types import ModelRef, PredictRequest

JSON_LENGTH = "inference-header-content-length"
_LARGE = 2**20  # bytes of tensors past which reading leaves the event loop to the others
_LARGE_REPLY = 2**16  # bytes past which compressing does
_CODINGS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_MODEL = "/v2/models/{model}"
_VERSION = _MODEL + "/versions/{version}"
_INFER = re.compile("/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_INFER_BODY = describe_body(schema.InferRequest, schema.INFER_EXAMPLE)
_ABSENT = {
    "/v2/systemsharedmemory/{rest:path}": protocol.NO_SHARED_MEMORY,
    "/v2/cudasharedmemory/{rest:path}": protocol.NO_SHARED_MEMORY,
    "/v2/repository/models/{rest:path}": protocol.NO_LOADING,
    "/v2/trace/setting": protocol.NO_SETTINGS,
    _MODEL + "/trace/setting": protocol.NO_SETTINGS,
    "/v2/logging": protocol.NO_SETTINGS,
}


_DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "default": {"model": schema.InferError, "description": "What went wrong"}
}


def render_error(code: str, message: str, request_id: str, detail: Mapping[str, Any]) -> bytes:
    return encode({"error": message})


def find_ref(scope: Scope) -> ModelRef | None:
    """The model that is asked to infer; None where the target is another route's. Raises InvalidInput."""
    found = _INFER.fullmatch(scope["path"])
    return None if found is None else protocol.parse_ref(found[1], found[2] or "")


def make_router(predictor: Predictor) -> APIRouter:
    routes = APIRouter(responses=_DOCUMENTED)

    @routes.get("/v2", **document_answer(schema.ServerMetadata))
    async def server_metadata() -> dict[str, Any]:
        """Who this is, and which extensions of the protocol it speaks."""
        return {"name": about.NAME, "version": about.version(), "extensions": list(protocol.EXTENSIONS)}

    @routes.get("/v2/health/live", **document_answer(schema.ServerLive))
    async def server_live() -> dict[str, bool]:
        """200 while the process answers at all."""
        return {"live": True}

    @routes.get("/v2/health/ready", **document_answer(schema.ServerReady))
    async def server_ready(request: Request) -> dict[str, bool]:
        """200 when a model can answer, else 503 with the reason."""
        _check_ready(request)
        return {"ready": True}

    @routes.get(_MODEL + "/ready", **document_answer(schema.ModelReady))
    @routes.get(_VERSION + "/ready", **document_answer(schema.ModelReady))
    async def model_ready(request: Request, model: Model, version: str = "") -> dict[str, Any]:
        """200 when this model can answer, 503 while it cannot, 404 where there is no such model."""
        _check_ready(request)
        manifest = await predictor.describe(find_caller(request), protocol.parse_ref(model, version))
        return {"name": manifest.name, "ready": True}

    @routes.get("/v2/models/stats", **document_answer(schema.ModelStatistics))
    async def statistics(request: Request) -> dict[str, Any]:
        """What was counted since the service started, of every model, in Triton's words."""
        return triton.describe_statistics(await predictor.list_statistics(find_caller(request)))

    @routes.get(_MODEL + "/stats", **document_answer(schema.ModelStatistics))
    @routes.get(_VERSION + "/stats", **document_answer(schema.ModelStatistics))
    async def model_statistics(request: Request, model: Model, version: str = "") -> dict[str, Any]:
        """The same of one model."""
        ref = ModelRef.parse(model, version)
        found = await predictor.list_statistics(find_caller(request), ref.name, ref.version)
        return triton.describe_statistics(found)

    @routes.get(_MODEL + "/config", **document_answer(schema.ModelConfig))
    @routes.get(_VERSION + "/config", **document_answer(schema.ModelConfig))
    async def model_config(request: Request, model: Model, version: str = "") -> dict[str, Any]:
        """What the model's default signature takes and gives, and the most rows of a request, in Triton's words."""
        manifest = await predictor.describe(find_caller(request), protocol.parse_ref(model, version))
        return triton.describe_config(manifest, predictor.max_rows)

    @routes.get(_MODEL, **document_answer(schema.ModelMetadata))
    @routes.get(_VERSION, **document_answer(schema.ModelMetadata))
    async def model_metadata(request: Request, model: Model, version: str = "") -> dict[str, Any]:
        """What the model's default signature takes and gives; `GET /models/<model>` has the others."""
        caller = find_caller(request)
        manifest = await predictor.describe(caller, protocol.parse_ref(model, version))
        return protocol.describe_model(manifest, await predictor.list_statuses(caller, manifest.name))

    @routes.post(_MODEL + "/infer", **document_answer(schema.InferReply), openapi_extra=_INFER_BODY)
    @routes.post(_VERSION + "/infer", **document_answer(schema.InferReply), openapi_extra=_INFER_BODY)
    async def infer(request: Request, model: Model, version: str = "") -> Response:
        """Runs the model. Tensors are JSON lists or, behind the JSON, bytes. `version` is a number or a label.

        The request's parameter `signature_name` picks a signature; without it, the inputs' names do.
        """
        async with admit(predictor, request, protocol.parse_ref(model, version)) as admitted:
            question, asked = await _parse_body(request, admitted.manifest)
            result = await admitted.predict(question)
        body, length = render_reply(result, asked)
        headers = build_headers(result) | {"Vary": "Accept-Encoding"}
        if length is not None:
            headers[JSON_LENGTH] = str(length)
        if coding := _wanted_coding(request):
            headers["Content-Encoding"] = coding
            body = await _compressed(body, coding)
        kind = "application/json" if length is None else "application/octet-stream"
        return Response(body, media_type=kind, headers=headers)

    @routes.post(
        "/v2/repository/index",
        response_model=None,
        responses={200: {"model": list[schema.IndexEntry], "description": "Every version of every model"}},
        openapi_extra=describe_body(schema.IndexRequest, {"ready": True}, required=False),
    )
    async def repository_index(request: Request) -> Response:
        """Every version of every model and its state; with the body `{"ready": true}` those that answer."""
        body = await request.body()
        only_ready = await large_json.read(len(body), lambda: parse_only_ready(body))
        return Json(protocol.list_versions(predictor.list_versions(find_caller(request)), only_ready))

    for path, why in _ABSENT.items():
        routes.add_api_route(path, _refusal(why), methods=["GET", "POST"], include_in_schema=False)

    def _check_ready(request: Request) -> None:
        if trouble := predictor.find_trouble(find_caller(request)):
            raise NotReady(trouble)

    return routes


async def _parse_body(request: Request, manifest: Manifest) -> tuple[PredictRequest, Asked]:
    body, length = await request.body(), _json_length(request)
    json_bytes = len(body) if length is None else length
    if json_bytes <= LARGE < _LARGE < len(body):  # bytes behind a short JSON
        return await asyncio.to_thread(parse_body, body, length, manifest)
    return await large_json.read(json_bytes, lambda: parse_body(body, length, manifest))


def _json_length(request: Request) -> int | None:
    text = request.headers.get(JSON_LENGTH)
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidInput(f"invalid {JSON_LENGTH}: expected a number of bytes, got {text[:40]!r}")
    return None if text is None else int(text)


def _wanted_coding(request: Request) -> str:
    """The one coding that a client asks for. A list is what its library could read, and tensors hardly shrink: none."""
    accepted = request.headers.get("accept-encoding", "").strip().lower()
    return accepted if accepted in _CODINGS else ""


async def _compressed(body: bytes, coding: str) -> bytes:
    def compress() -> bytes:
        return zlib.compress(body, 1, _CODINGS[coding])

    return await asyncio.to_thread(compress) if len(body) > _LARGE_REPLY else compress()


def _refusal(why: str) -> Callable[[], Awaitable[Response]]:
    async def refuse() -> Response:
        raise Unsupported(why)

    return refuse
