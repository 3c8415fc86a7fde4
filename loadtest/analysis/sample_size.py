"""How many answers a percentile needs before it says anything.

A percentile is shown where the longest answer lies beyond it with 95 % certainty: of n independent answers all
lie below the p-th percentile with probability p^n, so n >= log 0.05 / log p. That is 5 answers for the median, 299
for p99 and 2,995 for p99.9. With fewer, nothing that was measured bounds it from above.
"""

from math import ceil, log

from loadtest.results import Latencies

PERCENTILES = (50, 90, 95, 99, 99.9)
_CERTAINTY = 0.95


def needed(percent: float) -> int:
    """Answers without which `percent` is not shown."""
    return ceil(log(1 - _CERTAINTY) / log(percent / 100))


def percentile(latencies: Latencies, percent: float) -> float | None:
    """Seconds; None where there are too few answers to say."""
    return latencies.percentile(percent) if len(latencies) >= needed(percent) else None


def highest(answers: int) -> float | None:
    """The highest of PERCENTILES that so many answers support."""
    return max((each for each in PERCENTILES if answers >= needed(each)), default=None)
