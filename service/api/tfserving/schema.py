"""TensorFlow Serving's REST API for the OpenAPI description: nothing is routed or parsed with what stands here."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.http.openapi import SAMPLE_B64, DescribedRoute, Label, Model, Version, describe_body, document_answer


class ServingError(BaseModel):
    """Every error of TensorFlow Serving's API."""

    error: str


class VersionStatus(BaseModel):
    version: str
    state: str
    status: dict[str, str]


class ModelStatus(BaseModel):
    """The states of a model's versions, newest first."""

    model_version_status: list[VersionStatus]


class ServingMetadata(BaseModel):
    """Every signature, as TensorFlow describes it."""

    model_spec: dict[str, Any]
    metadata: dict[str, Any]


class PredictRequest(BaseModel):
    """Either `instances`, a value a row, or `inputs`, a value an input. Bytes are `{"b64": "..."}`."""

    instances: list[Any] = Field(default_factory=list, min_length=1)
    inputs: Any = Field(default_factory=list)
    signature_name: str = ""


class PredictReply(BaseModel):
    """`predictions`, one a row, to `instances`; `outputs` to `inputs`."""

    predictions: list[Any] | None = None
    outputs: Any | None = None


class ExamplesRequest(BaseModel):
    """tf.Examples as objects of features; `context` stands before each."""

    examples: list[dict[str, Any]] = Field(min_length=1)
    context: dict[str, Any] = Field(default_factory=dict)
    signature_name: str = ""


class ClassifyReply(BaseModel):
    """A list of [label, score] an example."""

    results: list[Any]


class RegressReply(BaseModel):
    """A number an example."""

    results: list[float]


REQUESTS = (PredictRequest, ExamplesRequest)
_ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": ServingError, "description": "What went wrong"}}


async def _ask(model: Model) -> None: ...


async def _ask_version(model: Model, version: Version) -> None: ...


async def _ask_label(model: Model, label: Label) -> None: ...


_WHICH: Mapping[str, Callable[..., Any]] = {
    "": _ask,
    "/versions/{version}": _ask_version,
    "/labels/{label}": _ask_label,
}


_EXAMPLES = describe_body(ExamplesRequest)
_OPERATIONS: tuple[tuple[str, str, str, type[BaseModel], dict[str, Any] | None], ...] = (
    ("", "status", "The states of a model's versions, newest first.", ModelStatus, None),
    ("/metadata", "metadata", "What a model's signatures take and give.", ServingMetadata, None),
    (
        *(":predict", "predict", "Runs a model.", PredictReply),
        describe_body(PredictRequest, {"instances": [{"b64": SAMPLE_B64}]}),
    ),
    (":classify", "classify", "Runs a signature that gives classes.", ClassifyReply, _EXAMPLES),
    (":regress", "regress", "Runs a signature that gives a number.", RegressReply, _EXAMPLES),
)
"""The end of its path, name, description, answer, and body, None for GET."""


def make_documented_router() -> APIRouter:
    """For /docs and /openapi.json: `TensorFlowServing` takes every request."""
    routes = APIRouter(responses=_ERRORS, route_class=DescribedRoute)
    for ending, name, description, answer, body in _OPERATIONS:
        for which, endpoint in _WHICH.items():
            routes.add_api_route(
                f"/v1/models/{{model}}{which}{ending}",
                endpoint,
                methods=["GET" if body is None else "POST"],
                name=f"tfserving_{name}",
                description=description,
                **document_answer(answer),
                openapi_extra=body,
            )
    return routes
