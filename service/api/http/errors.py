"""How each error code reads in HTTP: one table, one shape.

{"error": {"code": "INVALID_INPUT", "message": "...", "request_id": "...", "detail": {...}}}

Below /v2 it is the Open Inference Protocol's: {"error": "..."}.
"""

import math
import re
from typing import Any

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.api.http.json_answer import Json
from service.errors import Code, ServiceError, Unauthenticated
from service.observability.context import REQUEST_ID as REQUEST_ID  # where the edge's own files look for it

STATUS: dict[Code, int] = {
    Code.NOT_FOUND: 404,
    Code.UNKNOWN_SIGNATURE: 404,
    Code.INVALID_INPUT: 400,
    Code.TOO_LARGE: 413,
    Code.UNSUPPORTED: 501,
    Code.UNSUPPORTED_ENCODING: 415,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.RATE_LIMITED: 429,
    Code.OVERLOADED: 429,
    Code.NOT_READY: 503,
    Code.DEADLINE: 504,
    Code.CANCELLED: 499,
    Code.BACKEND: 500,
}
SERVED_BY = "x-served-by"


class ErrorFields(BaseModel):
    code: str
    message: str
    request_id: str
    detail: dict[str, Any] | None = None


class ErrorReply(BaseModel):
    """Every error, whatever its status."""

    error: ErrorFields


DOCUMENTED: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorReply, "description": "What went wrong"}}
"""For routes: how their errors look in the OpenAPI description."""


class OipErrorReply(BaseModel):
    """Every error of the Open Inference Protocol."""

    error: str


DOCUMENTED_OIP: dict[int | str, dict[str, Any]] = {
    "default": {"model": OipErrorReply, "description": "What went wrong"}
}
_OIP = re.compile("/v2(/|$)")


def body(request: Request, code: str, message: str, detail: Any = None) -> dict[str, Any]:
    return content(request.url.path, request.scope.get(REQUEST_ID, ""), code, message, detail)


def content(path: str, request_id: str, code: str, message: str, detail: Any = None) -> dict[str, Any]:
    """An error's body, in the shape of the API that `path` belongs to."""
    if _OIP.match(path):
        return {"error": message}
    error = {"code": code, "message": message, "request_id": request_id}
    return {"error": error | ({"detail": dict(detail)} if detail else {})}


def headers(error: ServiceError) -> dict[str, str]:
    """What an answer that says `error` has beside its body, in every API's shape."""
    if isinstance(error, Unauthenticated):
        invalid = ', error="invalid_token"' if error.detail.get("invalid") else ""
        return {"WWW-Authenticate": f'Bearer realm="models"{invalid}'}
    if error.retry_after is not None:
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return {}


async def service_error(request: Request, error: Exception) -> Json:
    assert isinstance(error, ServiceError)
    return Json(body(request, error.code, error.message, error.detail), STATUS[error.code], headers(error))


async def http_error(request: Request, error: Exception) -> Json:
    """What the router itself refuses: unknown paths and wrong methods."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    allowed = (error.headers or {}).get("Allow", "")
    messages = {
        404: f"nothing lives at {path}; POST an image to /predict/MODEL, or read /docs",
        405: f"{path} does not take {method}; it takes {allowed or 'another method'}",
    }
    codes = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}
    code = codes.get(error.status_code, "INVALID_INPUT")
    message = messages.get(error.status_code, str(error.detail))
    return Json(body(request, code, message), error.status_code, error.headers)


async def unexpected(request: Request, error: Exception) -> Json:
    """A fault of ours: the client learns that, the log (by uvicorn) holds the traceback."""
    headers = {REQUEST_ID: request.scope.get(REQUEST_ID, "")}  # this answer is made outside of the middleware
    return Json(body(request, Code.BACKEND, "the server failed; its log says why"), 500, headers)
