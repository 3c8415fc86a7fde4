"""What a race of engines can choose among, what each choice costs, and what it chose: docs/reports/race.json.

`python -m benchmarks.race choice --record` adds to it, and docs/benchmarks.md shows it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any, NamedTuple, Self

RESULTS = Path("docs/reports/race.json")
ALLOWED = 1.05
"""The race's choice may cost this many times the cheapest."""
ALLOWED_LITERT = 1.10
"""The same where it is LiteRT, which stays unless another is faster by a tenth."""
LEAST = 0.97
"""A choice may be this many times as fast as LiteRT alone, and no slower."""


class Choice(NamedTuple):
    """`lanes` of `threads` threads each."""

    engine: str
    precision: str
    lanes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.engine} {self.precision} {self.lanes} x {self.threads}"


class Cost(NamedTuple):
    """Milliseconds of a lone image, and of an image where all lanes run batches."""

    alone: float
    many: float

    @property
    def mean(self) -> float:
        return sqrt(self.alone * self.many)


@dataclass(frozen=True)
class Raced:
    """One network: every choice's cost, what each race chose, and `litert`, what LiteRT without a race is given."""

    machine: str
    costs: Mapping[Choice, Cost]
    litert: Choice
    chosen: Sequence[Choice]

    @property
    def cheapest(self) -> Choice:
        return min(self.costs, key=lambda each: self.costs[each].mean)

    @property
    def worst(self) -> Choice:
        """The dearest that a race chose."""
        return max(self.chosen, key=lambda each: self.costs[each].mean)

    def compare(self, choice: Choice, other: Choice) -> float:
        """How many times what `other` costs `choice` does."""
        return self.costs[choice].mean / self.costs[other].mean

    def is_good(self, choice: Choice) -> bool:
        allowed = ALLOWED_LITERT if choice.engine == "litert" else ALLOWED
        return self.compare(choice, self.cheapest) <= allowed

    @property
    def gain(self) -> float:
        """How many times as fast as LiteRT alone the dearest choice is."""
        return self.compare(self.litert, self.worst)


def find_mean_gain(raced: Mapping[str, Raced]) -> float:
    """The geometric mean over networks."""
    return float(prod(each.gain for each in raced.values()) ** (1 / len(raced)))


@dataclass(frozen=True)
class Races:
    networks: Mapping[str, Raced]

    def write(self, path: Path) -> None:
        document = {
            name: asdict(each) | {"costs": [[*choice, *cost] for choice, cost in each.costs.items()]}
            for name, each in self.networks.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError where there is none, ValueError where it is not one of ours."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls({name: _parse(**each) for name, each in found.items()})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} was not written by `python -m benchmarks.race`: {error!r}") from error


def _parse(machine: str, costs: list[list[Any]], litert: list[Any], chosen: list[list[Any]]) -> Raced:
    return Raced(
        machine,
        {Choice(*each[:4]): Cost(*map(float, each[4:])) for each in costs},
        Choice(*litert),
        [Choice(*each) for each in chosen],
    )
