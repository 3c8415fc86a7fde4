"""The OpenAPI description: what its protocols share, and what FastAPI leaves out of it."""

import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, FastAPI, Path, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from service.api.http.errors import DOCUMENTED

Model: TypeAlias = Annotated[str, Path(description="a model or a route", examples=["lenet5"])]
Version: TypeAlias = Annotated[
    str, Path(description="a version's number", examples=["1"], json_schema_extra={"pattern": "^[0-9]{1,18}$"})
]
VersionAsked: TypeAlias = Annotated[
    str,
    Query(description="a version's number; the newest answers without", json_schema_extra={"pattern": "^[0-9]{0,18}$"}),
]
Label: TypeAlias = Annotated[str, Path(description="what the routes or a precision call a version")]

_COMPONENTS = "#/components/schemas/{model}"
SAMPLE_B64 = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcAQAAAABaduI5AAAAMUlEQVR42mNgwAWY//9hYGJgYEAiGBgYZOBcBMsCLvsAJsYIZzEdgMmyw41iR5iH"
    "DACQ+wUgq0TrdAAAAABJRU5ErkJggg=="
)
"""A PNG of 28 x 28 pixels, in base64: examples in the description work as they stand."""


class DescribedRoute(APIRoute):
    """A route that stands in the description alone: another one, which FastAPI cannot describe, takes its requests."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.NONE, {}


def add_post(
    app: FastAPI,
    path: str,
    answer: Callable[[Request], Awaitable[Response]],
    describe: Callable[..., Awaitable[None]],
    **described: Any,
) -> None:
    """`answer` takes POST requests by Starlette's own route: in FastAPI's, a search for four strings was a quarter of
    all that ran on the event loop for a small image (cProfile). `describe` has the parameters and the words for /docs.
    """
    app.router.routes.append(Route(path, answer, methods=["POST"], include_in_schema=False))
    routes = APIRouter(responses=DOCUMENTED, route_class=DescribedRoute)
    routes.add_api_route(path, describe, methods=["POST"], response_model=None, **described)
    app.include_router(routes, tags=["predict"])


def name_operation(route: APIRoute) -> str:
    """The operation's id: the function's name, and which version it is about where several paths have one."""
    ending = "_of_version" if "{version}" in route.path else "_of_label" if "{label}" in route.path else ""
    return f"{route.name}{ending}"


def answer_head(routes: APIRouter) -> APIRouter:
    """The same routes: whatever answers GET answers HEAD, as Starlette's own routes do."""
    for route in routes.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")
    return routes


def document_answer(model: type[BaseModel]) -> dict[str, Any]:
    """What a route's decorator takes for an answer that the route writes itself."""
    return {"response_model": None, "responses": describe_answer(model)}


def describe_answer(model: type[BaseModel]) -> dict[int | str, Any]:
    """`responses` of such a route."""
    return {200: {"model": model, "description": (model.__doc__ or "The answer").strip().partition("\n\n")[0]}}


def describe_body(
    model: type[BaseModel], example: Any = None, required: bool = True, others: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A route's `openapi_extra`, of a body that the route reads itself. `others` are media types beside JSON."""
    described: dict[str, Any] = {"schema": {"$ref": _COMPONENTS.format(model=model.__name__)}}
    if example is not None:
        described["example"] = example
    return {"requestBody": {"required": required, "content": {"application/json": described, **(others or {})}}}


def complete(app: FastAPI, requests: Iterable[type[BaseModel]], needs_keys: bool) -> None:
    """Adds the bodies that routes read themselves, and where to put a key; GET stands for HEAD too."""
    without, models = app.openapi, tuple(requests)

    def openapi() -> dict[str, Any]:
        with warnings.catch_warnings():  # FastAPI's, that GET and HEAD have one id
            warnings.filterwarnings("ignore", "Duplicate Operation ID")
            schema = without()
        for methods in schema["paths"].values():
            methods.pop("head", None)
        components = schema.setdefault("components", {})
        _, bodies = models_json_schema([(model, "validation") for model in models], ref_template=_COMPONENTS)
        components["schemas"] |= bodies["$defs"]
        if not needs_keys:
            return schema
        components["securitySchemes"] = {"API key": {"type": "http", "scheme": "bearer"}}
        return schema | {"security": [{"API key": []}]}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way
