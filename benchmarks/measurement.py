"""What every way of measuring gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self


@dataclass(frozen=True)
class Measurement:
    """Successful requests within `seconds`, and their latency in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Served:
    """One server under one load: medians over the rounds."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def take_medians(cls, rounds: Sequence[Measurement]) -> Self:
        return cls(
            median(one.requests / one.seconds for one in rounds),
            median(one.p50_ms for one in rounds),
            median(one.p99_ms for one in rounds),
        )
