"""TensorFlow Serving's REST API: /v1/models/M[/versions/N|/labels/L], its /metadata, and POST to its :predict,
:classify and :regress.

Paths, codes and shapes are TensorFlow Serving's own, also where they differ from the rest of this server:
errors are {"error": "..."}, a path that does not match is a 400, and a query string belongs to the path. A method that
a path does not take is a 405 with `Allow`, as everywhere here.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from service.api.http import errors
from service.api.http.request import SERVED_BY, admit, build_headers, find_caller
from service.api.tfserving.model_info import render_metadata, render_status
from service.api.tfserving.rest_bodies import VERBS, Body, Verb
from service.errors import Code, InvalidInput, NotFound
from service.predictor import Predictor
from service.types import ModelRef

STATUS = {**errors.STATUS, Code.UNKNOWN_SIGNATURE: 400}

_ROOT = "/v1/"
_JSON = "application/json"
_LARGEST_VERSION = 2**63 - 1

_WHICH = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_ASKED = re.compile(rf"/v1/models/([^/:]+){_WHICH}:(classify|regress|predict)", re.IGNORECASE | re.ASCII)
_LOOKED_AT = re.compile(rf"/v1/models(?:/([^/:]+))?{_WHICH}(?:/(metadata))?", re.IGNORECASE | re.ASCII)
_METHODS = {_ASKED: ("POST", "OPTIONS"), _LOOKED_AT: ("GET", "HEAD", "OPTIONS")}


class TensorFlowServing(BaseRoute):
    """Everything below /v1/, matched on the target as the client wrote it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        ours = scope["type"] == "http" and _target(scope)[: len(_ROOT)].lower() == _ROOT
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = await self._answer(request)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method, target = request.method, _target(request.scope)
        pattern, match = next(((each, found) for each in _METHODS if (found := each.fullmatch(target))), (None, None))
        allow = {"Allow": ", ".join(_METHODS[pattern])} if pattern else {}
        if method == "OPTIONS":
            origin = request.headers.get("origin", "").lower()
            return Response(status_code=200 if origin.startswith(("http://", "https://")) else 400, headers=allow)
        if pattern is None or match is None:
            raise InvalidInput(f"Malformed request: {method} {target}")
        if method not in _METHODS[pattern]:
            raise HTTPException(405, headers=allow)
        name, _, _, what = match.groups()
        if name is None:
            raise InvalidInput("Missing model name in request; ask for /v1/models/NAME")
        if (ref := _read_ref(match)) is None:
            raise InvalidInput(f"invalid version: expected a number up to {_LARGEST_VERSION}")
        if pattern is _LOOKED_AT:
            return await (self._metadata if what == "metadata" else self._status)(request, ref)
        if what not in VERBS:
            raise InvalidInput(f"Malformed request: {method} {target}; :{what.lower()} is written in lower case")
        return await self._ask(request, ref, VERBS[what])

    async def _status(self, request: Request, ref: ModelRef) -> Response:
        statuses = await self._predictor.list_statuses(find_caller(request), ref.name, ref.version)
        return Response(render_status(statuses), media_type=_JSON)

    async def _metadata(self, request: Request, ref: ModelRef) -> Response:
        manifest = await self._predictor.describe(find_caller(request), ref)
        return Response(render_metadata(manifest), media_type=_JSON)

    async def _ask(self, request: Request, ref: ModelRef, verb: Verb) -> Response:
        body = Body(request, verb)
        try:
            async with admit(self._predictor, request, ref) as admitted:
                result = await admitted.predict(await body.read(admitted.manifest))
        except NotFound:
            await body.check()  # TensorFlow Serving reads bodies before it looks for their models
            raise
        headers = {SERVED_BY: build_headers(result)[SERVED_BY]}
        return Response(await body.answer(result.outputs), headers=headers, media_type=_JSON)


def find_ref(scope: Scope) -> ModelRef | None:
    """The model that is asked; None where the target is another route's, or not as it should be."""
    match = _ASKED.fullmatch(_target(scope))
    if match is None or match[4] not in VERBS:
        return None
    return _read_ref(match)


def render_error(code: str, message: str, request_id: str, detail: Mapping[str, Any]) -> bytes:
    """An error as TensorFlow Serving writes it."""
    return json.dumps({"error": message}, indent=4, ensure_ascii=False).encode(errors="replace")


def _target(scope: Scope) -> str:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def _read_ref(match: re.Match[str]) -> ModelRef | None:
    """The model that a target names; None where its version is past the largest there is."""
    name, version, label = match[1], match[2], match[3]
    digits = (version or "").lstrip("0")
    if len(digits) > len(str(_LARGEST_VERSION)) or int(digits or 0) > _LARGEST_VERSION:
        return None
    return ModelRef(_decoded(name), int(digits or 0) if version else None, _decoded(label) if label else None)


def _decoded(part: str) -> str:
    return unquote_to_bytes(part.encode("latin-1")).decode(errors="replace")
