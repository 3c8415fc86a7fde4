"""What comes back, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from image_model_client.errors import ClientError


@dataclass(frozen=True, slots=True)
class Label:
    """`probability` is from 0 to 1; NaN where the model's answer is no number."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """`top_k` is sorted, most probable first. `timings` has the milliseconds of each stage in the service. `outputs`
    has what a model that is no classifier answers, as JSON, such as a detector's `detections`; `top_k` is empty then.
    `fields` is the answer as it came.
    """

    model: str
    version: int
    top_k: tuple[Label, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    request_id: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        """The most probable one. Raises ValueError where the model is no classifier."""
        return self._first().label

    @property
    def probability(self) -> float:
        """Of `label`, from 0 to 1."""
        return self._first().probability

    def _first(self) -> Label:
        if not self.top_k:
            raise ValueError(f"{self.model} is no classifier and has no labels; look at .outputs")
        return self.top_k[0]


@dataclass(frozen=True, slots=True)
class Embedding:
    """`vector` is what the network's last layer but one computes, float32."""

    model: str
    version: int
    vector: tuple[float, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """`versions` answer, newest first."""

    name: str
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One image of many: `source` is what was given; either `prediction` or `error` is there."""

    source: Any
    prediction: Prediction | None = None
    error: ClientError | None = None
