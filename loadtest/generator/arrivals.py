"""When requests are meant to start: an open loop's schedule, fixed before the first of them is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

_BURST_EVERY, _BURST_SECONDS, _BURST_TIMES = 2.0, 0.2, 5.0


@dataclass(frozen=True)
class Arrivals:
    """`rate` requests/s on average for `seconds`.

    poisson  users who know nothing of each other
    steady   one every 1/rate seconds
    burst    poisson, with five times the rate for 0.2 s of every two seconds
    """

    rate: float
    seconds: float
    kind: Literal["poisson", "steady", "burst"] = "poisson"
    seed: int = 0

    def starts(self) -> Iterator[float]:
        """Seconds from the load's begin, ascending; the same every time."""
        if self.kind == "steady":
            yield from (number / self.rate for number in range(int(self.rate * self.seconds)))
            return
        random, now = Random(self.seed), 0.0
        peak = self.rate * (_BURST_TIMES if self.kind == "burst" else 1.0)
        while (now := now + random.expovariate(peak)) < self.seconds:
            if self.kind == "poisson" or random.random() < self._share_of_peak(now):
                yield now

    def _share_of_peak(self, now: float) -> float:
        """Thinning: a Poisson process whose rate varies is one at its peak of which some are left out."""
        if now % _BURST_EVERY < _BURST_SECONDS:
            return 1.0
        duty = _BURST_SECONDS / _BURST_EVERY
        return (1 / _BURST_TIMES - duty) / (1 - duty)
