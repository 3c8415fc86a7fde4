"""Budgets: how much worse than its baseline a number may be, in the words of `--budget`."""

import re
from dataclasses import dataclass
from typing import Self

from loadtest.analysis.sample_size import PERCENTILES
from loadtest.analysis.wording import percent_name

THROUGHPUT, CAPACITY, ERRORS, MEMORY = "throughput", "capacity", "errors", "memory"
LATENCIES = {percent_name(each): each for each in PERCENTILES}
_FALLING = (THROUGHPUT, CAPACITY)
METRICS = (*LATENCIES, ERRORS, MEMORY, *_FALLING)
_TEXT = re.compile(r"([\w.]+)=([+-]?)(\d+(?:\.\d+)?) ?%")


@dataclass(frozen=True)
class Budget:
    """`metric` may become worse by `share` of what it was (of all requests: `errors`)."""

    metric: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `p99=+10%` or `throughput=-5%`. Raises ValueError, in one line for the command's user."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"expected METRIC=CHANGE%, such as p99=+10% or throughput=-5%, got {text!r}")
        metric, sign, number = found.groups()
        if metric not in METRICS:
            raise ValueError(f"invalid metric {metric!r} in {text!r}: expected one of {', '.join(METRICS)}")
        wanted = "-" if metric in _FALLING else "+"
        if sign not in (wanted, "" if wanted == "+" else wanted):
            raise ValueError(f"{text!r} says how much worse a number may be: write {metric}={wanted}{number}%")
        return cls(metric, float(number) / 100)

    def __str__(self) -> str:
        return f"{self.metric}={'-' if falls(self.metric) else '+'}{100 * self.share:g}%"


def falls(metric: str) -> bool:
    """Whether less of it is worse."""
    return metric in _FALLING
