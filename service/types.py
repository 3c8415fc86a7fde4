"""The values that travel through the service: one request, one result, frozen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput, TooLarge
from service.names import DEFAULT_SIGNATURE as DEFAULT_SIGNATURE
from service.names import is_model_name as is_model_name

Array = NDArray[Any]
Pixels = NDArray[np.uint8]
Tensors = Mapping[str, Array]

MOST_LABELS = 1000
"""Of a request that brings its own; each costs a run of a text encoder once."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model a request wants: a version, or the one that a label stands for, or (neither) the newest available."""

    name: str
    version: int | None = None
    label: str | None = None

    @classmethod
    def parse(cls, name: str, version: str | int | None = None, label: str | None = None) -> "ModelRef":
        """Raises InvalidInput where the version is not a non-negative integer, or comes with a label."""
        if label:
            if version:
                raise InvalidInput(f"ask for a version or for a label, not for both ({version} and {label!r:.40})")
            return cls(name, None, label)
        if version is None or version == "":
            return cls(name)
        text = str(version)
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise InvalidInput(f"invalid version: expected a whole number such as 1, got {text[:40]!r}")
        return cls(name, int(text))

    def as_servable(self) -> str:
        """In TensorFlow Serving's words, which its clients' wait loops match on."""
        return f"Latest({self.name})" if self.version is None else f"Specific({self.name}, {self.version})"

    def __str__(self) -> str:
        if self.label is not None:
            return f"{self.name}@{self.label}"
        return self.name if self.version is None else f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds a request spent in each stage. `queue` is the wait for its turn; `batch`, with a runner free, for others
    to share it.
    """

    read: float = 0.0
    decode: float = 0.0
    queue: float = 0.0
    batch: float = 0.0
    compute: float = 0.0
    total: float = 0.0

    def parts(self) -> Mapping[str, float]:
        """In the order in which they happen."""
        return {
            "read": self.read,
            "decode": self.decode,
            "queue": self.queue,
            "batch": self.batch,
            "compute": self.compute,
        }

    def stages(self) -> Mapping[str, float]:
        return {**self.parts(), "total": self.total}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the digest of the API key that a request came with; empty where it came with none."""

    digest: bytes = b""


NOBODY = Caller()


@dataclass(frozen=True, slots=True)
class CandidateLabels:
    """The labels that a request brings to a model that compares images with texts. Each is put into `template`, in the
    place of "{}".
    """

    names: tuple[str, ...]
    template: str = "{}"

    def __post_init__(self) -> None:
        """Raises InvalidInput or TooLarge."""
        if not self.names:
            raise InvalidInput("labels is empty: expected at least one, such as labels=a cat,a dog")
        if len(self.names) > MOST_LABELS:
            raise TooLarge(f"{len(self.names):,} labels are too many: send at most {MOST_LABELS:,}", max=MOST_LABELS)
        for place, name in enumerate(self.names):
            if not name.strip():
                raise InvalidInput(f"label {place} is blank: expected a text", label=place)
        if len(set(self.names)) < len(self.names):
            twice = next(name for place, name in enumerate(self.names) if name in self.names[:place])
            raise InvalidInput(f"label {twice[:40]!r} is given twice")
        if "{}" not in self.template:
            raise InvalidInput(
                f"invalid template: expected a text with {{}} in the place of the label, got {self.template[:40]!r}"
            )

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self.template.replace("{}", name) for name in self.names)


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What a caller asks of a model. `inputs` maps a signature's input names to arrays that share dim 0 (the rows).

    Encoded images are arrays of dtype object holding `bytes`, shape [N]. An empty `signature` means the
    default one, one input keyed "" the signature's only one, empty `outputs` all of them. With `features`, those of
    images come beside the outputs, from the same run. With `candidates` the answer is their `probabilities`.
    """

    inputs: Tensors
    signature: str = ""
    outputs: tuple[str, ...] = ()
    features: bool = False
    candidates: CandidateLabels | None = None

    @property
    def rows(self) -> int:
        return max((len(array) for array in self.inputs.values() if array.ndim), default=1)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training image, and the cosine of the angle between its features and another image's. `label` is a number."""

    name: str
    label: int
    similarity: float


class TrainingImages(Protocol):
    """What a version learnt from, to compare images with by their features, float32 [N, D] of any length."""

    def find_nearest(self, features: Array, count: int) -> list[list[Neighbour]]:
        """For each row the `count` images most like it, the nearest first."""

    def measure_familiarity(self, features: Array) -> Array:
        """The cosine of each row's angle to the nearest image, float32 [N]."""


@dataclass(frozen=True, slots=True)
class PredictResult:
    """What a call returns: `ref` is the name asked for and the version that answered, `served_by` that version
    under its own name, or all of an ensemble, whose first one's number is in `ref`. `temperature` is in that
    version's manifest, and not applied; None where it has none, and of an ensemble. So is `known_threshold`; `index`
    has that version's training images.
    """

    ref: ModelRef
    signature: str
    outputs: Tensors
    labels: tuple[str, ...] = ()
    timings: Timings = field(default_factory=Timings)
    served_by: tuple[ModelRef, ...] = ()
    temperature: float | None = None
    known_threshold: float | None = None
    index: TrainingImages | None = None

    @property
    def answered_by(self) -> ModelRef:
        """Whom to count it for: the one version, or an ensemble's name without any."""
        return self.served_by[0] if len(self.served_by) == 1 else ModelRef(self.ref.name)


@cache
def dtype_of(dtype: "np.dtype[Any]") -> str:
    """A dtype's name as signatures have it, "string" for bytes and text; NumPy works its `name` out anew each time."""
    return "string" if dtype.kind in "OSU" else dtype.name


strings: Callable[[list[bytes]], Array] = partial(np.array, dtype=object)
"""`bytes` objects -> an array of them, shape [N], dtype object: how string tensors travel here."""
