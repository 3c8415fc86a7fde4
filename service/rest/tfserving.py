"""TensorFlow Serving's REST API: /v1/models/M[/versions/N|/labels/L], its /metadata, and POST to its :predict.

Paths, codes and shapes are TensorFlow Serving's own, also where they differ from the rest of this server:
errors are {"error": "..."}, a path that does not match is a 400, and a query string belongs to the path.
"""

import asyncio
import json
import logging
import re
import zlib
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from service.errors import Code, InvalidInput, NotFound, Overloaded, ServiceError, TooLarge
from service.manifest import Manifest
from service.messages import ModelRef, PredictRequest
from service.predictor import Predictor
from service.rest import calls, errors
from service.wire import json_to_tensors, model_info, tensors_to_json

STATUS = {**errors.STATUS, Code.UNKNOWN_SIGNATURE: 400}

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_ROOT = "/v1/"
_JSON = "application/json"
_LARGE_BODY = 2**18  # bytes past which reading JSON leaves the event loop to the others,
_LARGE_ANSWER = 2**13  # and numbers past which writing it does
_LARGEST_VERSION = 2**63 - 1

_WHICH = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_ASKED = re.compile(rf"/v1/models/([^/:]+){_WHICH}:(classify|regress|predict)", re.IGNORECASE | re.ASCII)
_LOOKED_AT = re.compile(rf"/v1/models(?:/([^/:]+))?{_WHICH}(?:/(metadata))?", re.IGNORECASE | re.ASCII)


class TensorFlowServing(BaseRoute):
    """Everything below /v1/, matched on the target as the client wrote it."""

    def __init__(self, predictor: Predictor, max_body_bytes: int) -> None:
        self._predictor, self._max_body_bytes = predictor, max_body_bytes

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        ours = scope["type"] == "http" and is_ours(scope)
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except ServiceError as error:
            answer = refusal(error)
        except Exception:
            _log.exception("%s %s failed", request.method, scope["path"])
            answer = _error("the server failed; its log says why", 500)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method, target = request.method, _target(request.scope)
        if method == "OPTIONS":
            origin = request.headers.get("origin", "").lower()
            return Response(status_code=200 if origin.startswith(("http://", "https://")) else 400)
        pattern = {"POST": _ASKED, "GET": _LOOKED_AT}.get(method)
        match = pattern.fullmatch(target) if pattern else None
        if match is None:
            raise InvalidInput(f"Malformed request: {method} {target}")
        name, version, label, what = match.groups()
        if name is None:
            raise InvalidInput("Missing model name in request; ask for /v1/models/NAME")
        digits = (version or "").lstrip("0")
        if len(digits) > len(str(_LARGEST_VERSION)) or int(digits or 0) > _LARGEST_VERSION:
            return Response(status_code=400, media_type=_JSON)
        ref = ModelRef(_decoded(name), int(digits or 0) if version else None, _decoded(label) if label else None)
        if method == "GET":
            return await (self._metadata(ref) if what == "metadata" else self._status(ref))
        if what != "predict":
            raise InvalidInput(f"Malformed request: {method} {target}; POST to :predict, in lower case")
        return await self._predict(request, ref)

    async def _status(self, ref: ModelRef) -> Response:
        return _json(model_info.status_json(await self._predictor.statuses(ref.name, ref.version)))

    async def _metadata(self, ref: ModelRef) -> Response:
        return _json(model_info.metadata_json(await self._predictor.describe(ref)))

    async def _predict(self, request: Request, ref: ModelRef) -> Response:
        body = _Body(request, self._max_body_bytes)
        try:
            result = await calls.predict(self._predictor, calls.of(ref, request), request, body.read)
        except NotFound:
            await body.document()  # where that is no JSON either, TensorFlow Serving says so first
            raise
        write = tensors_to_json.predictions if await body.by_rows() else tensors_to_json.columns
        size = sum(array.size for array in result.outputs.values())
        return _json(await _aside(size > _LARGE_ANSWER, lambda: write(result.outputs)))


class _Body:
    """One request's body, taken off the wire when it is first asked for."""

    def __init__(self, request: Request, limit: int) -> None:
        self._request, self._limit = request, limit
        self._document: json_to_tensors.Document | None = None
        self._large = False

    async def document(self) -> json_to_tensors.Document:
        """Raises InvalidInput or TooLarge."""
        if self._document is None:
            body = await calls.body(self._request)
            zipped = self._request.headers.get("content-encoding", "").strip().lower() == "gzip"
            self._large = zipped or len(body) > _LARGE_BODY
            self._document = await _aside(
                self._large, lambda: json_to_tensors.parse(_unzipped(body, self._limit) if zipped else body)
            )
        return self._document

    async def read(self, manifest: Manifest) -> PredictRequest:
        document = await self.document()
        name = json_to_tensors.signature_name(document)
        signature = manifest.signature(name)
        return PredictRequest(
            await _aside(self._large, lambda: json_to_tensors.tensors(document, signature)), signature=name
        )

    async def by_rows(self) -> bool:
        return json_to_tensors.INSTANCES in await self.document()


def is_ours(scope: Scope) -> bool:
    """Whether a request is answered here, and so refused in this API's shape too."""
    return str(scope["path"])[: len(_ROOT)].lower() == _ROOT


def refusal(error: ServiceError) -> Response:
    """An error as TensorFlow Serving's clients know it."""
    answer = _error(error.message, STATUS[error.code])
    if isinstance(error, Overloaded):
        answer.headers["Retry-After"] = "1"
    return answer


def _error(message: str, status: int) -> Response:
    return _json(json.dumps({"error": message}, indent=4, ensure_ascii=False).encode(errors="replace"), status)


def _json(content: str | bytes, status: int = 200) -> Response:
    return Response(content, status, media_type=_JSON)


def _target(scope: Scope) -> str:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def _decoded(part: str) -> str:
    return unquote_to_bytes(part.encode("latin-1")).decode(errors="replace")


def _unzipped(body: bytes, limit: int) -> bytes:
    """Raises TooLarge before more than `limit` bytes are made of it."""
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unzip.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not gzip, as its Content-Encoding says: {error}") from error
    if len(plain) > limit:
        raise TooLarge(f"the body is larger than {limit:,} bytes once unpacked; send less", max_body_bytes=limit)
    if not unzip.eof:
        raise InvalidInput("the gzip body breaks off; send all of it")
    return plain


async def _aside(large: bool, work: Callable[[], _T]) -> _T:
    """In a thread where it takes long."""
    return await asyncio.to_thread(work) if large else work()
