"""TensorFlow Serving's REST API for the OpenAPI description: nothing is routed or parsed with what stands here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.http.openapi import SAMPLE_B64, DescribedRoute, Label, Model, Version, describe_answer, describe_body


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


@dataclass(frozen=True, slots=True)
class _Operation:
    ending: str
    name: str
    description: str
    answer: type[BaseModel]
    body: Mapping[str, Any] | None = None


_OPERATIONS = (
    _Operation("", "status", "The states of a model's versions, newest first.", ModelStatus),
    _Operation("/metadata", "metadata", "What a model's signatures take and give.", ServingMetadata),
    _Operation(
        ":predict",
        "predict",
        "Runs a model.",
        PredictReply,
        describe_body(PredictRequest, {"instances": [{"b64": SAMPLE_B64}]}),
    ),
    _Operation(
        ":classify", "classify", "Runs a signature that gives classes.", ClassifyReply, describe_body(ExamplesRequest)
    ),
    _Operation(
        ":regress", "regress", "Runs a signature that gives a number.", RegressReply, describe_body(ExamplesRequest)
    ),
)


def make_documented_router() -> APIRouter:
    """For /docs and /openapi.json: `TensorFlowServing` takes every request."""
    routes = APIRouter(responses=_ERRORS, route_class=DescribedRoute)
    for operation in _OPERATIONS:
        for which, endpoint in _WHICH.items():
            routes.add_api_route(
                f"/v1/models/{{model}}{which}{operation.ending}",
                endpoint,
                methods=["GET" if operation.body is None else "POST"],
                name=f"tfserving_{operation.name}",
                description=operation.description,
                responses=describe_answer(operation.answer),
                response_model=None,
                openapi_extra=None if operation.body is None else dict(operation.body),
            )
    return routes
