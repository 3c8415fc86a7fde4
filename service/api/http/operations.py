"""Is it alive, is it ready, what does it serve, where do calls go, how is it doing."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.api.http.errors import DOCUMENTED
from service.api.http.json_answer import Json
from service.api.http.openapi import Model, VersionAsked, describe_answer, document_answer
from service.api.http.request import find_caller
from service.observability.metrics.registry import Metrics
from service.predictor import Predictor
from service.types import ModelRef


class Alive(BaseModel):
    """Sent while the process answers at all."""

    status: Literal["alive"]


class Ready(BaseModel):
    """The models that answer, with their versions."""

    status: Literal["ready"]
    models: dict[str, list[int]]


class NotReady(BaseModel):
    """Why no traffic should come here."""

    status: Literal["not ready"]
    reason: str


class Models(BaseModel):
    """Model -> versions that answer, newest first; path -> why nothing is served from there."""

    models: dict[str, list[int]]
    passed_over: dict[str, str] | None = None


class VersionState(BaseModel):
    version: int
    state: str
    error: str


class ModelDescription(BaseModel):
    """The states of a model's versions, what one of them says of itself, and which signatures share batches."""

    versions: list[VersionState]
    manifest: dict[str, Any]
    batching: dict[str, Any]


class Routes(BaseModel):
    """The routes in force, and what is wrong with their file."""

    model_config = ConfigDict(extra="allow")


_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
_READY = describe_answer(Ready) | {503: {"model": NotReady, "description": "No traffic should come here"}}


def make_router(predictor: Predictor, metrics: Metrics) -> APIRouter:
    routes = APIRouter(responses=DOCUMENTED)

    @routes.get("/healthz", **document_answer(Alive))
    async def alive() -> Response:
        """200 while the process answers at all: for liveness probes, which restart."""
        return Json({"status": "alive"})

    @routes.get("/readyz", response_model=None, responses=_READY)
    async def ready(request: Request) -> Response:
        """200 when a model can answer, else 503 with the reason: for readiness probes, which route traffic."""
        caller = find_caller(request)
        if trouble := predictor.find_trouble(caller):
            return Json({"status": "not ready", "reason": trouble}, 503)
        return Json({"status": "ready", "models": predictor.list_models(caller)})

    @routes.get("/monitoring/prometheus/metrics", response_model=None, include_in_schema=False)
    @routes.get("/metrics", response_model=None, responses=_PAGE, response_class=PlainTextResponse)
    async def metrics_page(request: Request) -> Response:
        """Prometheus' text format, or OpenMetrics where Accept asks for it."""
        page, content_type = metrics.page(request.headers.get("accept", ""))
        return Response(page, headers={"content-type": content_type})

    @routes.get("/models", **document_answer(Models))
    async def models(request: Request) -> dict[str, Any]:
        """Every model with the versions that answer, newest first; and, where something lies in the repository that is
        not served, its path and why.
        """
        caller = find_caller(request)
        passed_over = predictor.list_passed_over(caller)
        return {"models": predictor.list_models(caller)} | ({"passed_over": passed_over} if passed_over else {})

    @routes.get("/models/{model}", **document_answer(ModelDescription))
    async def model(request: Request, model: Model, version: VersionAsked = "") -> dict[str, Any]:
        """One model: the states of its versions, what the version asked for says of itself, and which of its signatures
        share batches between requests.
        """
        caller = find_caller(request)
        statuses = [asdict(status) for status in await predictor.list_statuses(caller, model)]
        ref = ModelRef.parse(model, version)
        manifest = await predictor.describe(caller, ref)
        batching = {
            name: {"shared": False, "reason": reason} if reason else {"shared": True}
            for name, reason in (await predictor.describe_batching(caller, ref)).items()
        }
        return {"versions": statuses, "manifest": manifest.document(), "batching": batching}

    @routes.get("/routes", **document_answer(Routes))
    async def routes_in_force(request: Request) -> Mapping[str, Any]:
        """The routes in force. `error` says what is wrong with the file on disk where it is not what is in force, and
        `targets` which models' versions are there to answer.
        """
        return await predictor.describe_routes(find_caller(request))

    return routes
