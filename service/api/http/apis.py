"""Which API a path belongs to, and so which model a request asks and how its errors look: one table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from service.api.http.errors import build_error_headers
from service.api.http.request import TRACE
from service.errors import Code, InvalidInput, ServiceError
from service.observability.context import OK, REQUEST_ID, Described
from service.types import ModelRef

_MOST_PATHS = 256  # remembered; a path is as long as a head may be

RenderError = Callable[[str, str, str, Mapping[str, Any]], bytes]
"""An error's body, of its code, message, request id and detail. It is JSON."""


@dataclass(frozen=True, slots=True)
class Api:
    """What lies below `prefix`. `find_ref` finds the model that a request wants a prediction of, None where it wants
    something else; it raises InvalidInput.
    """

    prefix: str
    find_ref: Callable[[Scope], ModelRef | None]
    render_error: RenderError
    status: Mapping[Code, int]


class Apis:
    """The first one whose prefix a path has. The last one has none, and everything that is nobody's."""

    def __init__(self, apis: Sequence[Api]) -> None:
        self._apis = tuple(apis)
        self._find = lru_cache(_MOST_PATHS)(self._search)  # a storm of refusals looks twice for each

    def find(self, scope: Scope) -> Api:
        return self._find(scope["raw_path"])

    def _search(self, raw_path: bytes) -> Api:
        path = raw_path.decode("latin-1").lower()
        return next(api for api in self._apis if not api.prefix or _is_below(path, api.prefix))

    def find_ref(self, scope: Scope) -> ModelRef | None:
        """The model that a request wants a prediction of; None where it wants something else, or asks badly."""
        try:
            return self.find(scope).find_ref(scope)
        except InvalidInput:
            return None

    def render_error(self, scope: Scope, error: ServiceError, request_id: str) -> tuple[int, bytes]:
        """Its status and body, as the API that was asked has them."""
        api = self.find(scope)
        return api.status[error.code], api.render_error(error.code, error.message, request_id, error.detail)

    def describe_span(self, method: str, scheme: str, raw_path: bytes, code: str) -> Described:
        """A request that ends with an error's code, or OK, as OpenTelemetry's conventions for HTTP have it."""
        status = 200 if code == OK else self.find({"raw_path": raw_path}).status.get(Code(code), 500)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.scheme": scheme,
            "url.path": raw_path.decode("latin-1"),
            "http.response.status_code": status,
        }
        return attributes, status >= 500

    async def answer_service_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)
        status, body = self.render_error(request.scope, error, _find_id(request))
        return _answer(body, status, build_error_headers(error))

    async def answer_http_error(self, request: Request, error: Exception) -> Response:
        """What the router itself refuses: unknown paths and wrong methods."""
        assert isinstance(error, HTTPException)
        path, method = request.url.path, request.method
        allowed = (error.headers or {}).get("Allow", "")
        messages = {
            404: f"nothing lives at {path}; POST an image to /predict/MODEL, or read /docs",
            405: f"{path} does not take {method}; it takes {allowed or 'another method'}",
        }
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "INVALID_INPUT")
        message = messages.get(error.status_code, str(error.detail))
        body = self.find(request.scope).render_error(code, message, _find_id(request), {})
        return _answer(body, error.status_code, error.headers)

    async def answer_unexpected(self, request: Request, error: Exception) -> Response:
        """A fault of ours: the client learns that, the log (by uvicorn) holds the traceback."""
        request_id = _find_id(request)
        message = "the server failed; its log says why"
        body = self.find(request.scope).render_error(Code.BACKEND, message, request_id, {})
        return _answer(body, 500, {REQUEST_ID: request_id})  # this answer is made outside of the middleware


def _is_below(path: str, prefix: str) -> bool:
    """A prefix that ends in a slash is without its own path."""
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")


def _find_id(request: Request) -> str:
    return str(request.scope[TRACE].request_id) if TRACE in request.scope else ""


def _answer(body: bytes, status: int, headers: Mapping[str, str] | None) -> Response:
    return Response(body, status, headers, media_type="application/json")
