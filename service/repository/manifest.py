"""What a model version says of itself: signatures, labels, preprocessing, how well it did.

A version exported by this project carries `assets.extra/manifest.json` beside its SavedModel.
For anybody else's version the backend that loads it derives a manifest from the graph.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from service.errors import InvalidInput, UnknownSignature
from service.names import DEFAULT_SIGNATURE

if TYPE_CHECKING:  # command lines need names and no arrays
    from service.types import Array

MANIFEST = Path("assets.extra", "manifest.json")
LABELS = Path("assets", "labels.txt")
MERGES = Path("assets", "merges.txt")
GOLDEN = Path("assets.extra", "golden.npz")
SAMPLES = Path("assets.extra", "samples")
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")
SAVED_MODEL = Path("saved_model.pb")
TFLITE = Path("model.tflite")
OPENVINO = Path("assets.extra", "openvino", "model.xml")
OPENVINO_INT8 = OPENVINO.with_name("int8.xml")
OPENVINO_INT8_GOLDEN = OPENVINO.with_name("int8_golden.npy")
"""What the int8 form answers to the images of GOLDEN: two forms that round differently are further apart than one form
is on two processors."""
FORMAT = 1

STRING = "string"
PROBABILITIES = "probabilities"
CLASSES = "classes"
FEATURES = "features"
"""An output, float32 [N, D], and the signature that gives it for encoded images."""
IMAGE_FEATURES = "image_features"
"""The signature of our exports that gives FEATURES and PROBABILITIES for pixels, in one run."""
TOKENS = "tokens"
IMAGE_EMBEDDING = "image_embedding"
TEXT_EMBEDDING = "text_embedding"
SOFTMAX, SIGMOID = "softmax", "sigmoid"

_LARGEST_SIDE = 16_384
_LARGEST_LABELS = 2**20  # bytes of a file that nobody vouches for; ImageNet's 21,841 names are 0.6 MB
_SINGLE_VALUES = ((), (1,), (None, 1), (1, 1))


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: dtype by its NumPy name ("float32", "uint8", "string") and shape.

    A None dimension takes any size; `shape` None says nothing is known, not even the rank.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def batched(self) -> bool:
        """True where dim 0 is the row count, so that requests may share a batch."""
        return bool(self.shape) and self.shape is not None and self.shape[0] is None

    @property
    def takes_single_values(self) -> bool:
        """True where a foreign model's values may come as a scalar, a list or a column."""
        return self.shape in _SINGLE_VALUES

    def check_dtype(self, name: str, array: "Array") -> None:
        from service.types import dtype_of

        given = dtype_of(array.dtype)
        if given != self.dtype:
            raise InvalidInput(f"input {name!r} takes {self.dtype}, got {given}", input=name)

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if self.shape is not None and not _fits(shape, self.shape):
            raise self._misshapen(name, shape)

    def check_foreign(self, name: str, array: "Array") -> None:
        """Raises InvalidInput where the dtype, the rank or a size behind dim 0 is not the declared one: kernels of
        TensorFlow end their process at ranks they were not built for.

        Dim 0 is the graph's business, and single values may come as a scalar, a list or a column whichever of these is
        declared, as TensorFlow Serving's own examples are asked.
        """
        self.check_dtype(name, array)
        if self.shape is None or (self.takes_single_values and (array.ndim < 2 or array.shape[1:] == (1,))):
            return
        if not _fits(array.shape, (None, *self.shape[1:]) if self.shape else ()):
            raise self._misshapen(name, array.shape)

    def _misshapen(self, name: str, shape: tuple[int, ...]) -> InvalidInput:
        wanted = ", ".join("N" if size is None else str(size) for size in self.shape or ())
        return InvalidInput(f"input {name!r} takes shape [{wanted}], got {list(shape)}", input=name)

    def check(self, name: str, array: "Array") -> None:
        """Raises InvalidInput where dtype or shape differ. What NaN and infinity mean is the model's business."""
        self.check_dtype(name, array)
        self.check_shape(name, array.shape)


def _fits(shape: tuple[int, ...], spec: tuple[int | None, ...]) -> bool:
    return len(shape) == len(spec) and all(want is None or have == want for have, want in zip(shape, spec, strict=True))


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a model: input and output tensors by alias."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method: str = "tensorflow/serving/predict"

    @property
    def only_input(self) -> str | None:
        return next(iter(self.inputs)) if len(self.inputs) == 1 else None

    @property
    def fixed(self) -> str:
        """Which tensor does not declare rows in dim 0, so that requests cannot share a batch; empty where all do."""
        if not self.inputs:
            return "it takes no inputs"
        for kind, specs in (("input", self.inputs), ("output", self.outputs)):
            for alias, spec in specs.items():
                if not spec.batched:
                    return f"{kind} {alias!r} declares no open first dimension"
        return ""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How encoded images become pixels, so that a gateway can do beside the model what the graph does.

    Decoding `bytes_signature`'s one string input to uint8 RGB, resized bilinearly with antialiasing to [height, width]
    (aspect ratio not kept) and fed to `image_signature`, gives what the graph gives. A gateway applies EXIF
    orientation, which TensorFlow cannot read.
    """

    height: int
    width: int
    bytes_signature: str = DEFAULT_SIGNATURE
    image_signature: str = "image"

    def __post_init__(self) -> None:
        """Raises ValueError for what is no size of an image: every request would fail by it."""
        for side in (self.height, self.width):
            if type(side) is not int or not 0 < side <= _LARGEST_SIDE:
                raise ValueError(f"preprocessing to {side!r:.20} rows or columns; expected 1 to {_LARGEST_SIDE}")


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """How a model of two encoders answers with the labels that a request brings.

    `text_signature` takes `tokens`, int32 [N, context], and answers `text_embedding`; signatures that take images
    answer `image_embedding`; both are float32 [N, D] of length 1. A label's logit is `scale` times their cosine plus
    `bias`. "softmax" shares one probability among the labels, "sigmoid" judges each label by itself.
    """

    scale: float
    bias: float = 0.0
    activation: str = SOFTMAX
    context: int = 77
    text_signature: str = "text"

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if not (math.isfinite(self.scale) and math.isfinite(self.bias)):
            raise ValueError(f"logits of scale {self.scale!r} and bias {self.bias!r}; expected finite numbers")
        if self.activation not in (SOFTMAX, SIGMOID):
            raise ValueError(f"activation {self.activation!r:.20}; expected {SOFTMAX} or {SIGMOID}")
        if type(self.context) is not int or self.context < 3:
            raise ValueError(f"a context of {self.context!r:.20} tokens; expected a whole number from 3")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a version costs on one machine: signature -> rows of a batch -> milliseconds of the whole batch.

    Measured with `lanes` interpreters of `threads` threads each, the fastest arrangement there: one batch
    of each size on an idle machine. A signature that takes encoded images costs what `image` does, and decoding
    (`make bench`). `peak_mb` is what loading and running added to the process at most. `precision` is what `engine`
    computes in, empty where that is unknown. `race` is what each engine cost when they took turns, the fastest first.
    `racing` says that they still do, in a running service: it is in no file.
    """

    machine: str
    lanes: int
    threads: int
    milliseconds: Mapping[str, Mapping[int, float]]
    load_seconds: float
    peak_mb: float
    engine: str = "litert"
    precision: str = ""
    race: Mapping[str, str] = field(default_factory=dict)
    racing: bool = False

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """From what `document` and JSON made of it. Raises KeyError, TypeError or ValueError."""
        by_signature = {
            signature: {int(rows): float(value) for rows, value in by_rows.items()}
            for signature, by_rows in document["milliseconds"].items()
        }
        return cls(**{**document, "milliseconds": by_signature})

    def document(self) -> dict[str, Any]:
        """What files keep of it."""
        document = asdict(self)
        del document["racing"]
        return document


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version's description. `checked` says that requests are held against whole shapes: True for our exports;
    False for foreign graphs, of which TensorFlow Serving enforces none and this service the rank and inner sizes.
    """

    name: str
    version: int
    signatures: Mapping[str, Signature]
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    checked: bool = False
    architecture: str = ""
    precision: str = ""
    profile: Profile | None = None
    """On the exporter's machine; once loaded, on this one."""
    zero_shot: ZeroShot | None = None
    temperature: float | None = None
    """Makes probabilities mean what they say: `softmax(log(p) / temperature)`. Applied where a client asks for it."""
    known_threshold: float | None = None
    """The similarity to the nearest training image, a cosine, from which an image counts as known."""
    twins: Mapping[str, str] = field(default_factory=dict)
    """Signature -> another one whose run gives its outputs too, and whose batches it shares. The backend's to say."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """How it was made and how well it did: parameters, dataset, accuracy, training, parity. For people
    and reports; the service acts on none of it."""
    definitions: Mapping[str, bytes] = field(default_factory=dict)
    """A foreign graph's SignatureDefs, serialized, for clients who ask; empty where `signatures` say it all."""

    def signature(self, name: str) -> Signature:
        """The default one for an empty name. Raises UnknownSignature."""
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            known, asked = sorted(self.signatures), name or DEFAULT_SIGNATURE
            raise UnknownSignature(
                f'model {self.name!r} version {self.version}: signature "{asked}" not found; it has {known}',
                signatures=known,
            )
        return found

    def decodes(self, signature: str) -> Preprocessing | None:
        """The recipe where `signature` takes encoded images that may be decoded outside the graph."""
        recipe = self.preprocessing
        if recipe is not None and signature == FEATURES and IMAGE_FEATURES in self.signatures:
            recipe = replace(recipe, bytes_signature=FEATURES, image_signature=IMAGE_FEATURES)
        return recipe if recipe is not None and recipe.bytes_signature == signature else None

    def check_features(self) -> None:
        """Raises UnknownSignature where there are none."""
        signature = self.signatures.get(FEATURES)
        if signature is None or FEATURES not in signature.outputs:
            raise UnknownSignature(
                f"model {self.name!r} version {self.version} has no features: it has no signature {FEATURES!r} with an "
                f"output {FEATURES!r}. Exports of this project have one: export the model again, unless its export "
                "said that its network has none",
                signatures=sorted(self.signatures),
            )

    def document(self) -> dict[str, Any]:
        """What JSON can say of it."""
        document = asdict(self)
        del document["definitions"], document["twins"]
        return document

    def _check_labels(self) -> None:
        for signature in self.signatures.values():
            spec = signature.outputs.get(PROBABILITIES)
            if spec is not None and spec.shape is not None and spec.shape[-1] != len(self.labels):
                raise ValueError(f"{LABELS} has {len(self.labels)} labels for {spec.shape[-1]} probabilities")

    def write(self, folder: Path) -> None:
        """Writes `manifest.json` and `labels.txt` below a version folder."""
        document = {"format": FORMAT, **self.document()}
        del document["labels"], document["checked"]
        if self.profile is not None:
            document["profile"] = self.profile.document()
        (folder / MANIFEST).parent.mkdir(parents=True, exist_ok=True)
        (folder / LABELS).parent.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        (folder / LABELS).write_text("".join(f"{label}\n" for label in self.labels), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, name: str, version: int) -> Self | None:
        """The manifest below a version folder under the name it is served by; None where there is none.

        Raises ValueError, naming the file, where it is unreadable or from another format.
        """
        path = folder / MANIFEST
        if not path.is_file():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']!r:.20}, where this service reads {FORMAT}")
            recipe = document["preprocessing"]
            manifest = cls(
                name=name,
                version=version,
                signatures={key: _signature(value) for key, value in document["signatures"].items()},
                labels=_read_labels(folder),
                preprocessing=Preprocessing(**recipe) if recipe else None,
                checked=True,
                architecture=document["architecture"],
                precision=document["precision"],
                profile=Profile.parse(profile) if (profile := document.get("profile")) else None,
                zero_shot=ZeroShot(**compared) if (compared := document.get("zero_shot")) else None,
                temperature=_positive("temperature", document.get("temperature")),
                known_threshold=_positive("known_threshold", document.get("known_threshold")),
                facts=document["facts"],
            )
            manifest._check_labels()
            return manifest
        except (OSError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{path} cannot be read ({reason}); export the model again, or update the service if that is older"
            ) from error


def read_labels(folder: Path) -> tuple[str, ...]:
    """The lines of `assets/labels.txt` below somebody else's version folder; empty where there is no such text."""
    try:
        if (folder / LABELS).stat().st_size > _LARGEST_LABELS:
            return ()
        return _read_labels(folder)
    except (OSError, UnicodeDecodeError):  # whatever it is, the model is served without it
        return ()


def _read_labels(folder: Path) -> tuple[str, ...]:
    text = (folder / LABELS).read_text(encoding="utf-8")
    return tuple(text.removesuffix("\n").split("\n")) if text else ()


def _positive(name: str, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} {value!r} is no number above 0")
    return value


def _signature(document: Mapping[str, Any]) -> Signature:
    def specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
        return {
            alias: TensorSpec(spec["dtype"], None if spec["shape"] is None else tuple(spec["shape"]))
            for alias, spec in tensors.items()
        }

    return Signature(specs(document["inputs"]), specs(document["outputs"]), document["method"])
