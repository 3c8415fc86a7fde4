"""Is it alive, is it ready, what does it serve, where do calls go, how is it doing."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api.http.errors import DOCUMENTED
from service.api.http.json_answer import Json
from service.api.http.request import find_caller
from service.observability.metrics.registry import Metrics
from service.predictor import Predictor
from service.types import ModelRef


def make_router(predictor: Predictor, metrics: Metrics) -> APIRouter:
    routes = APIRouter(responses=DOCUMENTED)

    @routes.api_route("/healthz", methods=["GET", "HEAD"], response_model=None)
    async def alive() -> Response:
        """200 while the process answers at all: for liveness probes, which restart."""
        return Json({"status": "alive"})

    @routes.api_route("/readyz", methods=["GET", "HEAD"], response_model=None)
    async def ready(request: Request) -> Response:
        """200 when a model can answer, else 503 with the reason: for readiness probes, which route traffic."""
        caller = find_caller(request)
        if trouble := predictor.find_trouble(caller):
            return Json({"status": "not ready", "reason": trouble}, 503)
        return Json({"status": "ready", "models": predictor.list_models(caller)})

    @routes.get("/metrics", response_model=None)
    async def scrape(request: Request) -> Response:
        """Prometheus' text format, or OpenMetrics where Accept asks for it."""
        page, content_type = metrics.page(request.headers.get("accept", ""))
        return Response(page, headers={"content-type": content_type})

    @routes.get("/models", response_model=None)
    async def models(request: Request) -> dict[str, Any]:
        """Every model with the versions that answer, newest first; and, where something lies in the repository that is
        not served, its path and why.
        """
        caller = find_caller(request)
        passed_over = predictor.list_passed_over(caller)
        return {"models": predictor.list_models(caller)} | ({"passed_over": passed_over} if passed_over else {})

    @routes.get("/models/{model}", response_model=None)
    async def model(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
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

    @routes.get("/routes", response_model=None)
    async def show_routes(request: Request) -> Mapping[str, Any]:
        """The routes in force. `error` says what is wrong with the file on disk where it is not what is in force, and
        `targets` which models' versions are there to answer.
        """
        return await predictor.describe_routes(find_caller(request))

    return routes
