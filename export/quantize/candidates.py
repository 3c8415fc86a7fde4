"""The forms a network could be published in, what was measured of them, and which it is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.quantize.evaluate import Quality

AS_FAST = 1.03
"""Times this close are noise: of candidates as fast as each other the smallest is taken."""

BESIDE = "published beside it"
"""The verdict on a candidate for another engine."""


@dataclass(slots=True)
class Candidate:
    """One form of the network, in `file` for as long as it is measured; `size` is its bytes.

    `quality` is None as long as nobody examined it: what is slower than an accurate one never is. `rounds` has a
    mapping for every time that it was timed, batch size -> milliseconds of one image.
    """

    name: str
    precision: str
    file: Path
    size: int
    quality: Quality | None = None
    rounds: list[Mapping[int, float]] = field(default_factory=list)

    @property
    def milliseconds(self) -> Mapping[int, float]:
        """Batch size -> milliseconds of one image, the median of rounds; empty where nobody timed it."""
        sizes = self.rounds[0] if self.rounds else ()
        return {size: float(np.median([each[size] for each in self.rounds])) for size in sizes}

    @property
    def cost(self) -> float:
        """Milliseconds an image, the geometric mean over batch sizes."""
        return float(np.exp(np.mean(np.log(list(self.milliseconds.values())))))

    @property
    def accepted(self) -> bool:
        return self.quality is not None and not self.quality.refused

    @property
    def refusal(self) -> str:
        """Why it may not be published, "" where it may or nobody knows."""
        return "" if self.quality is None else self.quality.refused


@dataclass(frozen=True, slots=True)
class Choice:
    """`chosen` out of `candidates`, of which the first is float32. `failed`: scheme -> why it has no file.

    `beside` is a candidate for another engine: it is published too where it is accurate enough.
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    failed: Mapping[str, str]
    beside: Candidate | None = None

    @property
    def rows(self) -> tuple[Candidate, ...]:
        """All that was measured, as tables have it."""
        return self.candidates if self.beside is None else (*self.candidates, self.beside)

    def verdict(self, candidate: Candidate) -> str:
        if candidate is self.chosen:
            return "published"
        if candidate.refusal:
            return f"refused: {candidate.refusal}"
        if candidate is self.beside:
            return BESIDE
        if not candidate.milliseconds:
            return "accurate enough"
        ratio = candidate.cost / self.chosen.cost
        return f"takes {ratio:.2f} times as long" if ratio > AS_FAST else "as fast, and larger"


def list_rivals(candidate: Candidate, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that would be published in its place if they are accurate, the best first: as fast, and smaller."""
    bound = candidate.cost * AS_FAST
    smaller = [each for each in candidates if each.size < candidate.size and each.cost <= bound]
    return sorted(smaller, key=lambda each: each.size)


def choose_fastest(accepted: Sequence[Candidate]) -> Candidate:
    """The smallest of those as fast as the fastest."""
    first = min(accepted, key=lambda each: each.cost)
    return next(iter(list_rivals(first, accepted)), first)
