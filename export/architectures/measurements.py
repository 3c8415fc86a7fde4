"""What networks take on one machine, as `python -m benchmarks.catalogue` measured and keeps in `measurements.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

FILE = Path(__file__).with_name("measurements.json")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one batch by its rows, of uint8 images of the published size."""

    litert_ms: Mapping[int, float]
    tensorflow_ms: Mapping[int, float]

    @classmethod
    def parse(cls, document: Mapping[str, Mapping[str, float]]) -> Self:
        return cls(**{engine: {int(rows): ms for rows, ms in found.items()} for engine, found in document.items()})

    def merge(self, other: "Latency | None") -> "Latency":
        """The lower of both, batch by batch: other work on a machine only ever slows."""
        if other is None:
            return self
        return Latency(
            _find_lower(self.litert_ms, other.litert_ms), _find_lower(self.tensorflow_ms, other.tensorflow_ms)
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """One untrained network at its published size, in float32.

    `export_seconds` is freezing the SavedModel and converting it; reading images, training and checks come on top.
    `latency` is None until it is measured.
    """

    build_seconds: float
    export_seconds: float
    saved_model_bytes: int
    litert_bytes: int
    latency: Latency | None = None

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        latency = document["latency"]
        return cls(**{**document, "latency": None if latency is None else Latency.parse(latency)})


@dataclass(frozen=True, slots=True)
class Measurements:
    """Of one machine, because latencies of two do not compare; "" before anything was measured."""

    machine: str = ""
    networks: Mapping[str, Measured] = field(default_factory=dict)

    def write(self, path: Path = FILE) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_measurements(path: Path = FILE) -> Measurements:
    """Empty where there is no such file."""
    if not path.is_file():
        return Measurements()
    document = json.loads(path.read_text(encoding="utf-8"))
    return Measurements(
        document["machine"], {name: Measured.parse(each) for name, each in document["networks"].items()}
    )


def _find_lower(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {rows: min(ms, other.get(rows, ms)) for rows, ms in one.items()}
