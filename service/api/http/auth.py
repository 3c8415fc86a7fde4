"""Who asks over HTTP: identified before any route is looked at."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.http.apis import Apis
from service.api.http.request import CALLER, find_path
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

    def __init__(self, app: ASGIApp, gate: Gate, apis: Apis, open_metrics: bool) -> None:
        self._app, self._gate, self._apis = app, gate, apis
        self._open = _OPEN | _METRICS if open_metrics else _OPEN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = find_path(scope)
            needed = path not in self._open and not path.startswith(_ASSETS)
            try:
                scope[CALLER] = self._gate.identify(Headers(scope=scope), "http", needed)
            except Unauthenticated as error:
                answer = await self._apis.answer_service_error(Request(scope), error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
