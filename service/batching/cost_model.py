"""The cost of a batch: from the measured profile, corrected by every batch since, or learned from batches alone.

Both are optimistic where they have seen nothing: a cost that is too high would never be tried, and never corrected.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

_WEIGHT = 0.1  # of the newest batch
_HANDING_OVER = 0.3  # ms, roughly, from the event loop to a thread and back under load; a profile is without it
_CAUTION = 3.0  # a late batch makes its requests late, an early one harms nobody
_HICCUP = 1.5  # times the expected cost: the most that one batch is believed to show
_NEARLY = 0.985  # of the highest rate is enough
_LEAST, _MOST = 0.25, 20.0  # times the profile: beyond it the cause is not the machine's load


class Cost(Protocol):
    """The cost of one signature's batches."""

    @property
    def enough(self) -> int:
        """Rows past which a larger batch gains next to nothing."""

    def seconds(self, rows: int) -> float: ...

    def observe(self, rows: int, seconds: float) -> None: ...


def cost(milliseconds: Mapping[int, float] | None) -> Cost:
    """`milliseconds` is a signature's part of a Profile; None where it has not been measured on this machine."""
    if not milliseconds:
        return Learned()
    return Profiled({rows: _HANDING_OVER + value for rows, value in milliseconds.items()})


class Profiled:
    """The profile times a factor: how much slower or faster than the profile the machine is now."""

    def __init__(self, milliseconds: Mapping[int, float]) -> None:
        self._rows = np.array(sorted(milliseconds), float)
        self._seconds = np.array([milliseconds[int(rows)] / 1000 for rows in self._rows])
        self._cached: list[float] = [0.0]
        self._factor = 1.0
        rates = self._rows / self._seconds
        self.enough = int(self._rows[np.flatnonzero(rates >= _NEARLY * rates.max())[0]])

    def seconds(self, rows: int) -> float:
        return self._measured(rows) * self._factor

    def observe(self, rows: int, seconds: float) -> None:
        now = min(max(seconds / self._measured(rows), _LEAST), _MOST, _HICCUP * self._factor)
        weight = _WEIGHT if now > self._factor else _WEIGHT / _CAUTION
        self._factor += weight * (now - self._factor)

    def _measured(self, rows: int) -> float:
        while len(self._cached) <= rows:
            self._cached.append(self._interpolated(len(self._cached)))
        return self._cached[rows]

    def _interpolated(self, rows: int) -> float:
        largest = self._rows[-1]
        if rows <= largest:
            return float(np.interp(rows, self._rows, self._seconds))
        return float(self._seconds[-1] * rows / largest)


class Learned:
    """`a + b * rows`, fitted by least squares; recent batches count most."""

    enough = 2**31

    def __init__(self) -> None:
        self._moments = np.zeros(5)  # of 1, rows, seconds, rows^2, rows * seconds
        self._fixed, self._a_row = 0.0, 0.0

    def seconds(self, rows: int) -> float:
        return self._fixed + self._a_row * rows

    def observe(self, rows: int, seconds: float) -> None:
        seen = np.array([1.0, rows, seconds, rows * rows, rows * seconds])
        weight = _WEIGHT if self._moments[0] else 1.0
        self._moments += weight * (seen - self._moments)
        _, n, s, nn, ns = self._moments.tolist()
        spread = nn - n * n
        # One size shows nothing of the others: the cost is then taken as fixed.
        self._a_row = max(0.0, min((ns - n * s) / spread, s / n)) if spread > 0.01 else 0.0
        self._fixed = s - self._a_row * n
