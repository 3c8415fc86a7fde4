"""How each error code reads in HTTP: one table, and this server's own shape.

{"error": {"code": "INVALID_INPUT", "message": "...", "request_id": "...", "detail": {...}}}
"""

import math
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from service.api.http.json_answer import encode
from service.errors import Code, ServiceError, Unauthenticated
from service.observability.context import REQUEST_ID

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


def render_error(code: str, message: str, request_id: str, detail: Mapping[str, Any]) -> bytes:
    error = {"code": code, "message": message, "request_id": request_id}
    return encode({"error": error | ({"detail": dict(detail)} if detail else {})})


def build_error_headers(error: ServiceError) -> dict[str, str]:
    """What an answer that says `error` has beside its body, in every API."""
    if isinstance(error, Unauthenticated):
        invalid = ', error="invalid_token"' if error.detail.get("invalid") else ""
        return {"WWW-Authenticate": f'Bearer realm="models"{invalid}'}
    if error.retry_after is not None:
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return {}


def render_refusal(status: int, code: str, message: str) -> bytes:
    """The last response on a connection that has no request to answer, head and body."""
    identifier = uuid.uuid4().hex
    body = render_error(code, message, identifier, {})
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{REQUEST_ID}: {identifier}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
