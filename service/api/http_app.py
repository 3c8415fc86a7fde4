"""The HTTP application: routes, error handlers, middleware, put together."""

from dataclasses import dataclass

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from service.api.http import errors, openapi, operations
from service.api.http.apis import Api, Apis
from service.api.http.auth import KeyCheck
from service.api.http.compression import CompressedPages, Decompression
from service.api.http.json_answer import Json
from service.api.http.middleware import RequestGuard
from service.api.http.openapi import answer_head
from service.api.http.prefix import Network, PathPrefix
from service.api.oip import rest as oip
from service.api.oip import schema as oip_schema
from service.api.page import route as page
from service.api.predict import embed, query, similar
from service.api.predict import route as predict
from service.api.predict import schema as predict_schema
from service.api.tfserving import rest as tfserving
from service.api.tfserving import schema as tfserving_schema
from service.errors import ServiceError
from service.observability.access_log import Access
from service.observability.context import REQUEST_ID
from service.observability.metrics.registry import Metrics
from service.predictor import Predictor
from service.security.authorizer import Gate

APIS = Apis(
    (
        Api("/v1/", tfserving.find_ref, tfserving.render_error, tfserving.STATUS),
        Api("/v2", oip.find_ref, oip.render_error, errors.STATUS),
        Api("", query.find_ref, errors.render_error, errors.STATUS),
    )
)


_DESCRIPTION = (
    "Image classifiers over HTTP. To try one: open POST /predict/{model}, press *Try it out*, type the name of a model "
    "that GET /models shows, choose a photograph. TensorFlow Serving's REST API is served below /v1, as TensorFlow "
    "Serving documents it."
)


@dataclass(frozen=True, slots=True)
class HttpGuards:
    """What every route is guarded by. No `cors_origins`: browsers' pages from elsewhere may not ask. A proxy in front
    has the service below `root_path`; one in `trusted_proxies` may say so itself.
    """

    max_body_bytes: int
    body_seconds: float
    cors_origins: tuple[str, ...] = ()
    open_metrics: bool = True
    root_path: str = ""
    trusted_proxies: tuple[Network, ...] = ()


def create_app(
    predictor: Predictor,
    metrics: Metrics,
    access: Access,
    gate: Gate,
    guards: HttpGuards,
    facts: page.Facts = page.NOTHING,
) -> FastAPI:
    """An ASGI application over one predictor. `/docs` works without a network."""
    app: FastAPI = FastAPIOffline(
        title="image-model-server",
        description=_DESCRIPTION,
        redoc_url=None,
        default_response_class=Json,
        generate_unique_id_function=openapi.name_operation,
    )
    for each in (predict, embed, similar):
        each.attach(app, predictor)
    app.include_router(answer_head(oip.make_router(predictor)), tags=["open inference protocol"])
    app.include_router(answer_head(operations.make_router(predictor, metrics)), tags=["operate"])
    app.router.routes.append(tfserving.TensorFlowServing(predictor))
    app.include_router(tfserving_schema.make_documented_router(), tags=["TensorFlow Serving"])
    app.include_router(answer_head(page.make_router(predictor, facts)), tags=["operate"])
    answer_head(app.router)
    app.add_exception_handler(ServiceError, APIS.answer_service_error)
    app.add_exception_handler(HTTPException, APIS.answer_http_error)
    app.add_exception_handler(Exception, APIS.answer_unexpected)
    _guard(app, predictor, access, gate, guards)
    openapi.complete(app, (*predict_schema.REQUESTS, *oip_schema.REQUESTS, *tfserving_schema.REQUESTS), gate.needs_keys)
    return app


def _guard(app: FastAPI, predictor: Predictor, access: Access, gate: Gate, guards: HttpGuards) -> None:
    """Around every route, those that others add too; the last one added sees a request first."""
    app.add_middleware(CompressedPages)
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
        apis=APIS,
        max_body_bytes=guards.max_body_bytes,
        body_seconds=guards.body_seconds,
        draining=lambda: predictor.draining,
        access=access,
    )
    if guards.root_path or guards.trusted_proxies:
        app.add_middleware(PathPrefix, root_path=guards.root_path, trusted=guards.trusted_proxies)
