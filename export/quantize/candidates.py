"""The forms a network could be published in, what was measured of them, and which it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from export.quantize.evaluate import Quality

AS_FAST = 1.03
"""Times this close are noise: of candidates as fast as each other the smallest is taken."""


@dataclass(slots=True)
class Candidate:
    """One form of the network. `milliseconds` has one entry a batch size, of one image; none where nobody timed it."""

    name: str
    precision: str
    data: bytes = field(repr=False)
    quality: Quality
    milliseconds: Mapping[int, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of its file."""
        return len(self.data)

    @property
    def cost(self) -> float:
        """Milliseconds an image, the geometric mean over batch sizes."""
        return float(np.exp(np.mean(np.log(list(self.milliseconds.values())))))


@dataclass(frozen=True, slots=True)
class Choice:
    """`chosen` out of `candidates`, of which the first is float32. `failed`: scheme -> why it has no file."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    failed: Mapping[str, str]

    def verdict(self, candidate: Candidate) -> str:
        if candidate is self.chosen:
            return "published"
        if candidate.quality.refused:
            return f"refused: {candidate.quality.refused}"
        if not candidate.milliseconds:
            return "accurate enough"
        ratio = candidate.cost / self.chosen.cost
        return f"takes {ratio:.2f} times as long" if ratio > AS_FAST else "as fast, and larger"


def fastest(accepted: Sequence[Candidate]) -> Candidate:
    """The smallest of those as fast as the fastest."""
    bound = min(each.cost for each in accepted) * AS_FAST
    return min((each for each in accepted if each.cost <= bound), key=lambda each: each.size)
