"""GET /: a page to ask the models with; their samples and the report of their export."""

import asyncio
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.api.http.errors import DOCUMENTED
from service.api.http.json_answer import Json
from service.api.http.openapi import Model, VersionAsked, document_answer
from service.api.http.request import find_caller
from service.errors import NotFound
from service.predictor import Predictor
from service.repository.version_files import VersionFiles
from service.types import ModelRef

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
_FILE = {"schema": {"type": "string", "format": "binary"}}
_SAMPLE: dict[int | str, Any] = {200: {"description": "An image", "content": dict.fromkeys(_IMAGES.values(), _FILE)}}
_REPORT: dict[int | str, Any] = {
    200: {"description": "The report", "content": {"text/html": {"schema": {"type": "string"}}}}
}
_DEFAULT_PORT = b'data-grpc-port="8500" data-grpc-tls="false"'


class Files(BaseModel):
    """The version that answers, the names of the images that its export packed with it, and whether it has a report."""

    version: int
    samples: list[str]
    report: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page tells beside what the predictor knows. No `files` where the models' folders are not here: there
    are no samples and no reports then.
    """

    files: VersionFiles | None = None
    grpc_port: int = 8500
    grpc_tls: bool = False


NOTHING = Facts()


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, with a tag that changes when it does."""

    kind: str
    data: bytes
    tag: str

    @classmethod
    def read(cls, name: str, facts: Facts) -> "Asset":
        data = resources.files(__package__).joinpath(name).read_bytes()
        here = f'data-grpc-port="{facts.grpc_port}" data-grpc-tls="{str(facts.grpc_tls).lower()}"'
        data = data.replace(_DEFAULT_PORT, here.encode())
        return cls(_TYPES[name.rpartition(".")[2]], data, f'W/"{hashlib.sha256(data).hexdigest()[:16]}"')

    def answer(self, request: Request) -> Response:
        headers = {"etag": self.tag, "cache-control": "no-cache", "content-security-policy": _POLICY, **_SAFE}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.data, headers=headers | {"content-type": self.kind})


def make_router(predictor: Predictor, facts: Facts) -> APIRouter:
    routes = APIRouter(responses=DOCUMENTED)
    assets = {name: Asset.read(name, facts) for name in ("page.html", "page.css", "page.js")}
    files = facts.files

    async def home(request: Request) -> Response:
        """The page for browsers; for others, the liveness of KServe's first protocol."""
        is_browser = "text/html" in request.headers.get("accept", "")
        answer = assets["page.html"].answer(request) if is_browser else Json({"status": "alive"})
        answer.headers["vary"] = "Accept"
        return answer

    async def show_asset(request: Request) -> Response:
        asset = assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        return asset.answer(request)

    # Starlette's own: each of FastAPI's adds some 4 ms to the start.
    routes.add_route("/", home, methods=["GET"], include_in_schema=False)
    routes.add_route("/page/{name}", show_asset, methods=["GET"], include_in_schema=False)

    @routes.get("/models/{model}/files", **document_answer(Files))
    async def list_files(request: Request, model: Model, version: VersionAsked = "") -> dict[str, Any]:
        """What lies beside the version for people: images to try it with, and the report of its export."""
        found = await predictor.find_version(find_caller(request), ModelRef.parse(model, version))
        names = await asyncio.to_thread(files.list_samples, found) if files else []
        report = await asyncio.to_thread(files.has_report, found) if files else False
        return {"version": found.version, "samples": names, "report": report}

    @routes.get("/models/{model}/samples/{name}", response_class=Response, responses=_SAMPLE)
    async def show_sample(
        request: Request,
        model: Model,
        name: Annotated[str, Path(description="one that `/models/{model}/files` lists", examples=["7-0.png"])],
        version: VersionAsked = "",
    ) -> Response:
        """One of these images."""
        found = await predictor.find_version(find_caller(request), ModelRef.parse(model, version))
        data = await asyncio.to_thread(_find_files(files).read_sample, found, name)
        return Response(data, media_type=_IMAGES[name.rpartition(".")[2].lower()], headers=_SAFE)

    @routes.get("/models/{model}/report", response_class=Response, responses=_REPORT)
    async def show_report(request: Request, model: Model, version: VersionAsked = "") -> Response:
        """The report that the version's export wrote: how it was trained, and what it gets wrong."""
        found = await predictor.find_version(find_caller(request), ModelRef.parse(model, version))
        data = await asyncio.to_thread(_find_files(files).read_report, found)
        return Response(data, media_type=_TYPES["html"], headers=_SAFE | {"content-security-policy": _REPORT_POLICY})

    return routes


def _find_files(files: VersionFiles | None) -> VersionFiles:
    if files is None:
        raise NotFound("the folders of models are not on this machine")
    return files
