"""What `make bench` measured: plain values kept in one JSON file, of which docs/benchmarks.md is made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.decoding import Decoding
from benchmarks.measurement import Served
from benchmarks.rivals.speeds import Speeds


@dataclass(frozen=True)
class Comparison:
    """This service and a plain one with the same network, by concurrency; memory in MB after the load.
    `in_process` is images/s of decoding and the engine without any server.
    """

    network: str
    plain: dict[int, Served]
    ours: dict[int, Served]
    in_process: float
    plain_mb: float
    ours_mb: float
    ready_seconds: float
    workers: int


@dataclass(frozen=True)
class Bench:
    """`costs`: network -> form -> milliseconds of one image; `sizes`: its published file over float32's; `int8_size`:
    the largest of the int8 files, over float32's. Loads took `seconds` each, in `rounds`. `rivals`: network -> mosec
    beside this service.
    """

    machine: str
    photo_bytes: int
    seconds: float
    rounds: int
    costs: Mapping[str, Mapping[str, float]]
    sizes: Mapping[str, float]
    int8_size: float
    comparisons: Sequence[Comparison]
    decoded: Sequence[Decoding]
    rivals: Mapping[str, Speeds]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError where there is none, ValueError where it is not one of ours."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            comparisons = [_comparison(each) for each in found["comparisons"]]
            decoded = [Decoding(**each) for each in found["decoded"]]
            rivals = {network: Speeds.parse(each) for network, each in found["rivals"].items()}
            return cls(**found | {"comparisons": comparisons, "decoded": decoded, "rivals": rivals})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} was not written by `make bench`: {error!r}") from error


def _comparison(found: dict[str, Any]) -> Comparison:
    served = {
        name: {int(concurrency): Served(**each) for concurrency, each in found[name].items()}
        for name in ("plain", "ours")
    }
    return Comparison(**found | served)
