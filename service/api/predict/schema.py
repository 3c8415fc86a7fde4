"""What /predict, /embed and /similar take and answer, for /openapi.json. The routes write their answers themselves."""

from typing import Any

from pydantic import BaseModel, Field

from service.api.http.openapi import SAMPLE_B64, describe_body

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"image": _BINARY["schema"]}}}


class Instances(BaseModel):
    """An image is `{"b64": "..."}`; pixels and other numbers are nested lists, several inputs an object of them.

    `labels` and `template` are for models that compare images with texts.
    """

    instances: list[Any] = Field(min_length=1)
    signature_name: str = ""
    labels: list[str] | None = None
    template: str = "{}"


class Probability(BaseModel):
    label: str
    probability: float | None


class Prediction(BaseModel):
    """The most probable label, and the `top_k` most probable ones; `known` and `features` where they are asked for."""

    label: str
    probability: float | None
    top_k: list[Probability]
    known: bool | None = None
    features: list[float | None] | None = None


class Box(BaseModel):
    left: float
    top: float
    right: float
    bottom: float


class Detection(BaseModel):
    """`box` is in pixels of the upright photo, `normalized_box` in shares of its sides."""

    label: str
    class_: int = Field(alias="class")
    score: float
    box: Box
    normalized_box: Box


class Detections(BaseModel):
    """What an object detector finds in a photo of `width` and `height` pixels, the highest score first."""

    width: int
    height: int
    detections: list[Detection]


class Predictions(BaseModel):
    """One prediction an image, in their order; raw `outputs` of a model that is no classifier and no detector. `seen`
    is a PNG in base64, where it is asked for.
    """

    model: str
    version: int
    temperature: float | None = None
    seen: str | None = None
    predictions: list[Prediction | Detections] | None = None
    outputs: dict[str, Any] | None = None


class Embeddings(BaseModel):
    """One row of features an image, in their order."""

    model: str
    version: int
    dimensions: int
    normalized: bool
    embeddings: list[list[float | None]]


class Neighbour(BaseModel):
    """A training image; `similarity` is the cosine of the angle between its features and the image's."""

    name: str
    label: str
    similarity: float | None


class Neighbours(BaseModel):
    known: bool | None = None
    neighbours: list[Neighbour]


class Similar(BaseModel):
    """The nearest training images of each image, in their order."""

    model: str
    version: int
    similar: list[Neighbours]


REQUESTS = (Instances,)
_OTHERS = {
    "image/jpeg": _BINARY,
    "image/png": _BINARY,
    "application/octet-stream": _BINARY,
    "multipart/form-data": _FORM,
}
BODY = describe_body(Instances, {"instances": [{"b64": SAMPLE_B64}]}, others=_OTHERS)
