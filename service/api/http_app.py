"""The HTTP application: routes, error handlers, middleware, put together."""

import warnings
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from service.api.http import errors, operations
from service.api.http.apis import Api, Apis
from service.api.http.auth import KeyCheck
from service.api.http.compression import Decompression
from service.api.http.json_answer import Json
from service.api.http.middleware import RequestGuard
from service.api.oip import rest as oip
from service.api.page import route as page
from service.api.predict import route as predict
from service.api.tfserving import rest as tfserving
from service.errors import ServiceError
from service.observability.access_log import Access
from service.observability.context import REQUEST_ID
from service.observability.metrics.registry import Metrics
from service.predictor import Predictor
from service.repository.version_files import VersionFiles
from service.security.authorizer import Gate

APIS = Apis(
    (
        Api("/v1/", tfserving.find_ref, tfserving.render_error, tfserving.STATUS),
        Api("/v2", oip.find_ref, oip.render_error, errors.STATUS),
        Api("", predict.find_ref, errors.render_error, errors.STATUS),
    )
)


_DESCRIPTION = (
    "Image classifiers over HTTP. To try one: open POST /predict/{model}, press *Try it out*, type the name of a model "
    "that GET /models shows, choose a photograph. TensorFlow Serving's REST API is served below /v1, as TensorFlow "
    "Serving documents it."
)


@dataclass(frozen=True, slots=True)
class HttpGuards:
    """What every route is guarded by. No `cors_origins`: browsers' pages from elsewhere may not ask."""

    max_body_bytes: int
    body_seconds: float
    cors_origins: tuple[str, ...] = ()
    open_metrics: bool = True


def create_app(
    predictor: Predictor,
    metrics: Metrics,
    access: Access,
    gate: Gate,
    guards: HttpGuards,
    files: VersionFiles | None = None,
) -> FastAPI:
    """An ASGI application over one predictor. `/docs` works without a network. No `files`: none are shown."""
    app: FastAPI = FastAPIOffline(
        title="image-model-server",
        description=_DESCRIPTION,
        redoc_url=None,
        default_response_class=Json,
    )
    app.router.routes.append(predict.make_route(predictor))
    app.include_router(predict.make_documented_router(), tags=["predict"])
    app.include_router(oip.make_router(predictor), tags=["open inference protocol"])
    app.include_router(operations.make_router(predictor, metrics), tags=["operate"])
    app.router.routes.append(tfserving.TensorFlowServing(predictor))

    app.include_router(page.make_router(predictor, files), tags=["operate"])
    app.add_exception_handler(ServiceError, APIS.answer_service_error)
    app.add_exception_handler(HTTPException, APIS.answer_http_error)
    app.add_exception_handler(Exception, APIS.answer_unexpected)
    _guard(app, predictor, access, gate, guards)
    _describe(app, gate.needs_keys)
    return app


def _guard(app: FastAPI, predictor: Predictor, access: Access, gate: Gate, guards: HttpGuards) -> None:
    """Around every route, those that others add too; the last one added sees a request first."""
    app.add_middleware(Decompression, max_body_bytes=guards.max_body_bytes)
    if gate.needs_keys:
        app.add_middleware(KeyCheck, gate=gate, apis=APIS, open_metrics=guards.open_metrics)
    if guards.cors_origins:  # ahead of keys: a browser asks without one whether it may ask
        app.add_middleware(
            CORSMiddleware,
            allow_origins=guards.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=(REQUEST_ID, "server-timing", "retry-after"),
        )
    app.add_middleware(
        RequestGuard,
        max_body_bytes=guards.max_body_bytes,
        body_seconds=guards.body_seconds,
        draining=lambda: predictor.draining,
        access=access,
    )


def _describe(app: FastAPI, needs_keys: bool) -> None:
    """For the page at /docs: where to put a key; and one row for GET and HEAD, which differ in nothing to read."""
    without = app.openapi

    def openapi() -> dict[str, Any]:
        with warnings.catch_warnings():  # FastAPI's, that GET and HEAD have one id
            warnings.filterwarnings("ignore", "Duplicate Operation ID")
            schema = without()
        for methods in schema["paths"].values():
            methods.pop("head", None)
        if not needs_keys:
            return schema
        schema.setdefault("components", {})["securitySchemes"] = {"API key": {"type": "http", "scheme": "bearer"}}
        return schema | {"security": [{"API key": []}]}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way
