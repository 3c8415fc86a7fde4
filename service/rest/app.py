"""The HTTP application: routes, error handlers, middleware, put together."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from service.access import Access
from service.errors import ServiceError
from service.metrics import Metrics
from service.predictor import Predictor
from service.rest import errors, health, oip, predict, routes
from service.rest.middleware import RequestGuard
from service.rest.tfserving import TensorFlowServing


def create_app(predictor: Predictor, metrics: Metrics, access: Access, max_body_bytes: int) -> FastAPI:
    """An ASGI application over one predictor. `/docs` works without a network."""
    app: FastAPI = FastAPIOffline(
        title="image-model-server", description="Image classifiers over HTTP.", redoc_url=None
    )
    app.include_router(predict.router(predictor), tags=["predict"])
    app.include_router(oip.router(predictor), tags=["open inference protocol"])
    app.include_router(health.router(predictor, metrics), tags=["operate"])
    app.include_router(routes.router(predictor), tags=["operate"])
    app.router.routes.append(TensorFlowServing(predictor, max_body_bytes))

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/docs")

    app.add_exception_handler(ServiceError, errors.service_error)
    app.add_exception_handler(HTTPException, errors.http_error)
    app.add_exception_handler(Exception, errors.unexpected)
    app.add_middleware(RequestGuard, max_body_bytes=max_body_bytes, draining=lambda: predictor.draining, access=access)
    return app
