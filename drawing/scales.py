"""From values to pixels, and where to put the ticks."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log, log10
from typing import Protocol


class Scale(Protocol):
    def __call__(self, value: float) -> float: ...

    def ticks(self) -> list[float]: ...


@dataclass(frozen=True)
class Linear:
    """From 0, or `low`, to at least `high`, over pixels `start` to `end`."""

    high: float
    start: float
    end: float
    low: float = 0.0
    count: int = 5

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        rough = (self.high - self.low) / self.count
        power = 10.0 ** floor(log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = ceil(self.low / step - 1e-9)
        return [step * each for each in range(first, floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Log:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = log(max(value, self.low) / self.low) / log(self.high / self.low)
        return self.start + min(share, 1.0) * (self.end - self.start)

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float, room: float = 1.15) -> "Log":
        """Wide enough for all of `values`, which must be positive, and a factor `room` on either side."""
        low, high = min(values) / room, max(values) * room
        if high / low < 4:  # a lone value, or values that hardly differ, are no reason to enlarge noise
            middle = (low * high) ** 0.5
            low, high = middle / 2, middle * 2
        return cls(low, high, start, end)

    def ticks(self) -> list[float]:
        """1, 2, 5, 10, ... as far as there is room for their labels, else powers of ten."""
        decades = log10(self.high / self.low)
        room = abs(self.end - self.start) / decades
        steps: tuple[int, ...] = (1, 2, 5) if room > 110 else (1, 3) if room > 60 else (1,)
        powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        found = [step * 10.0**power for power in powers for step in steps]
        return [value for value in found if self.low <= value <= self.high]


@dataclass(frozen=True)
class Ratio(Log):
    """Of two numbers: twice and half are as far from 1."""

    def ticks(self) -> list[float]:
        """1, and as many to either side of it as have room for their labels."""
        room = 52 * log(self.high / self.low) / abs(self.end - self.start)
        found = [1.0]
        for way in (1, -1):
            last = 0.0
            for step in (1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000):
                value = step**way
                if log(step) - last >= room and self.low <= value <= self.high:
                    last = log(step)
                    found.append(value)
        return sorted(found)


@dataclass(frozen=True)
class Nines:
    """Shares of 1 by log odds, so that p99.9 has as much room as p50: 50, 90, 99 and 99.9 % stand apart."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        low, high = _log_odds(self.low), _log_odds(self.high)
        share = (_log_odds(min(max(value, self.low), self.high)) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        return [each for each in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999) if self.low <= each <= self.high]


def _log_odds(share: float) -> float:
    return log(share / (1 - share))
