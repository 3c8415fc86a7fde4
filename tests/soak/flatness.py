"""Whether a quantity stays what it is: the slope of its samples, which a few odd ones do not decide."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEAST = 6  # samples


@dataclass(frozen=True)
class Trend:
    """Of samples over time: the `first` and `last` level, the `growth` between them that the slope says, all in the
    samples' unit.
    """

    first: float
    last: float
    growth: float

    def is_flat(self, share: float, floor: float) -> bool:
        """Whether it grew by no more than `share` of its first level, or `floor`, whichever is more."""
        return self.growth <= max(share * self.first, floor)


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """By Theil and Sen: the median of the slopes between all pairs of samples. Raises ValueError for too few."""
    if len(values) < _LEAST:
        raise ValueError(f"a trend takes {_LEAST} samples, got {len(values)}")
    at, level = np.asarray(times, float), np.asarray(values, float)
    earlier, later = np.triu_indices(len(at), 1)
    slope = float(np.median((level[later] - level[earlier]) / (at[later] - at[earlier])))
    middle, span = float(np.median(level - slope * at)), float(at[-1] - at[0])
    first = middle + slope * float(at[0])
    return Trend(first, first + slope * span, slope * span)
