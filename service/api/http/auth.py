"""Who asks over HTTP: told to the gate before any route is looked at."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.http import errors
from service.api.tfserving import rest as tfserving
from service.errors import Unauthenticated
from service.security.authorizer import Gate

_OPEN = {"/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"}
"""What load balancers, Kubernetes and a browser's first look need. It tells nothing of the models."""
_METRICS = {"/metrics", "/monitoring/prometheus/metrics"}
_ASSETS = "/static-offline-docs/"


class KeyCheck:
    """Pure ASGI. Whatever is not listed above needs a key, routes that do not exist too: a new one is closed until
    somebody opens it.
    """

    def __init__(self, app: ASGIApp, gate: Gate, open_metrics: bool) -> None:
        self._app, self._gate = app, gate
        self._open = _OPEN | _METRICS if open_metrics else _OPEN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            needed = path not in self._open and not path.startswith(_ASSETS)
            try:
                self._gate.identify(Headers(scope=scope), "http", needed)
            except Unauthenticated as error:
                await (await _refusal(scope, error))(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _refusal(scope: Scope, error: Unauthenticated) -> Response:
    """In the shape of the API that was asked."""
    if tfserving.is_ours(scope):
        return tfserving.refusal(error)
    return await errors.service_error(Request(scope), error)
