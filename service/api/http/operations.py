"""Is it alive, is it ready, what does it serve, how is it doing."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.api.http import errors
from service.api.http.json_answer import Json
from service.observability.metrics.registry import Metrics
from service.predictor import Predictor
from service.types import ModelRef


def router(predictor: Predictor, metrics: Metrics) -> APIRouter:
    routes = APIRouter(responses=errors.DOCUMENTED)

    @routes.api_route("/healthz", methods=["GET", "HEAD"], response_model=None)
    async def alive() -> Response:
        """200 while the process answers at all: for liveness probes, which restart."""
        return Json({"status": "alive"})

    @routes.api_route("/readyz", methods=["GET", "HEAD"], response_model=None)
    async def ready() -> Response:
        """200 when a model can answer, else 503 with the reason: for readiness probes, which route traffic."""
        if trouble := predictor.trouble:
            return Json({"status": "not ready", "reason": trouble}, 503)
        return Json({"status": "ready", "models": predictor.available()})

    @routes.get("/metrics", response_model=None)
    async def scrape(request: Request) -> Response:
        """Prometheus' text format, or OpenMetrics where Accept asks for it."""
        page, content_type = metrics.page(request.headers.get("accept", ""))
        return Response(page, headers={"content-type": content_type})

    @routes.get("/models", response_model=None)
    async def models() -> dict[str, Any]:
        """Every model with the versions that answer, newest first; and, where something lies in the repository that is
        not served, its path and why.
        """
        passed_over = predictor.passed_over()
        return {"models": predictor.available()} | ({"passed_over": passed_over} if passed_over else {})

    @routes.get("/models/{model}", response_model=None)
    async def model(model: str, version: str | None = None) -> dict[str, Any]:
        """One model: the states of its versions, what the version asked for says of itself, and which of its signatures
        share batches between requests.
        """
        statuses = [asdict(status) for status in await predictor.statuses(model)]
        ref = ModelRef.parse(model, version)
        manifest = await predictor.describe(ref)
        batching = {
            name: {"shared": False, "reason": reason} if reason else {"shared": True}
            for name, reason in (await predictor.batching(ref)).items()
        }
        return {"versions": statuses, "manifest": manifest.document(), "batching": batching}

    return routes
