"""GET /: a page to ask the models with; what they were given, their samples and the report of their export."""

import asyncio
import gzip
import hashlib
import io
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fastapi import APIRouter
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.api.http.errors import DOCUMENTED
from service.api.http.json_answer import Json
from service.api.http.request import find_caller
from service.api.predict.body import parse_body
from service.errors import InvalidInput, NotFound
from service.predictor import Predictor
from service.repository.version_files import VersionFiles
from service.types import ModelRef, Pixels

_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_IMAGES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'; sandbox allow-scripts"
)
_SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
_PIXELS = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
_BODY = {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, plain and compressed, with a tag that changes when it does."""

    kind: str
    plain: bytes
    packed: bytes
    tag: str

    @classmethod
    def read(cls, name: str) -> "Asset":
        plain = resources.files(__package__).joinpath(name).read_bytes()
        tag = f'"{hashlib.sha256(plain).hexdigest()[:16]}"'
        return cls(_TYPES[name.rpartition(".")[2]], plain, gzip.compress(plain, mtime=0), tag)

    def answer(self, request: Request) -> Response:
        headers = {"etag": self.tag, "cache-control": "no-cache", "vary": "Accept, Accept-Encoding", **_SAFE}
        headers["content-security-policy"] = _POLICY
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, headers=headers | {"content-encoding": "gzip", "content-type": self.kind})
        return Response(self.plain, headers=headers | {"content-type": self.kind})


def make_router(predictor: Predictor, files: VersionFiles | None) -> APIRouter:
    """No `files` where the models' folders are not here: there are no samples and no reports then."""
    routes = APIRouter(responses=DOCUMENTED)
    assets = {name: Asset.read(name) for name in ("page.html", "page.css", "page.js")}

    @routes.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def home(request: Request) -> Response:
        """The page for browsers; for everything else, KServe's liveness."""
        if "text/html" in request.headers.get("accept", ""):
            return assets["page.html"].answer(request)
        return Json({"status": "alive"}, headers={"vary": "Accept"})

    @routes.api_route("/page/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def show_asset(request: Request, name: str) -> Response:
        if name not in assets:
            raise HTTPException(404)
        return assets[name].answer(request)

    @routes.post(
        "/preprocess/{model}", response_class=Response, responses={200: _PIXELS}, openapi_extra={"requestBody": _BODY}
    )
    async def preprocess(
        request: Request, model: str, version: str | None = None, label: str | None = None
    ) -> Response:
        """What the model is given for an image: upright, resized, as a PNG."""
        caller, ref = find_caller(request), ModelRef.parse(model, version, label)
        manifest = await predictor.describe(caller, ref)
        inputs = await predictor.preprocess(caller, ref, await parse_body(request, manifest))
        if manifest.preprocessing is None:
            raise InvalidInput(f"model {str(ref)!r} takes no encoded images; send it what GET /models/{model} shows")
        (pixels,) = inputs.values()
        if len(pixels) != 1:
            raise InvalidInput(f"send one image, got {len(pixels)}")
        return Response(await asyncio.to_thread(_encode, pixels[0]), media_type="image/png", headers=_SAFE)

    @routes.get("/models/{model}/samples")
    async def list_samples(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
        """The images that the export packed with the version, to try it with."""
        found = await predictor.find_version(find_caller(request), ModelRef.parse(model, version))
        names = await asyncio.to_thread(files.list_samples, found) if files else []
        return {"version": found.version, "samples": names}

    @routes.get("/models/{model}/samples/{name}", response_class=Response)
    async def show_sample(request: Request, model: str, name: str, version: str | None = None) -> Response:
        """One of them."""
        found = await predictor.find_version(find_caller(request), ModelRef.parse(model, version))
        if files is None:
            raise NotFound(f"the folder of {found} is not on this machine")
        data = await asyncio.to_thread(files.read_sample, found, name)
        return Response(data, media_type=_IMAGES[name.rpartition(".")[2].lower()], headers=_SAFE)

    @routes.get("/models/{model}/report", response_class=Response)
    async def show_report(request: Request, model: str, version: str | None = None) -> Response:
        """The report that the version's export wrote: how it was trained, and what it gets wrong."""
        found = await predictor.find_version(find_caller(request), ModelRef.parse(model, version))
        if files is None:
            raise NotFound(f"the folder of {found} is not on this machine")
        data = await asyncio.to_thread(files.read_report, found)
        return Response(data, media_type=_TYPES["html"], headers=_SAFE | {"content-security-policy": _REPORT_POLICY})

    return routes


def _encode(pixels: Pixels) -> bytes:
    """[height, width, 1 or 3] uint8 -> PNG."""
    picture = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(picture, "PNG", compress_level=1)
    return picture.getvalue()
