"""Every case under every pattern at every load, served by each of the servers that are compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.batching import servers
from benchmarks.batching.arrivals import PATTERNS
from benchmarks.batching.machines import Case
from benchmarks.batching.size_and_delay import SizeAndDelay
from service.batching.policy import ByDeadline

LOADS = (0.3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.6, 2.0, 3.0)
"""Offered, as shares of what the machine can do in time."""

_TIMEOUTS = (0.0, 0.05, 0.1, 0.2, 0.4)  # of the SLO
_BATCHES = (1, 2, 4, 8, 10**6)  # that may wait
_JITTER = 0.02  # of a batch's time, on average


@dataclass(frozen=True, slots=True)
class Point:
    """Goodput of one case, pattern and load: the share of the requests offered that was answered in time.

    `tuned` is the fixed timeout at its best of all settings for this very point, `usual` at the best one for all of the
    case's Poisson traffic up to its capacity, which is what an operator can set.
    """

    case: Case
    pattern: str
    load: float
    rate: float
    ours: float
    eager: float
    tuned: float
    usual: float
    bound: float


def settings(case: Case) -> list[tuple[int, float, int]]:
    """Of the fixed timeout: `max_batch_size`, seconds, `max_enqueued_batches`."""
    sizes = [2**power for power in range(8) if 2**power <= case.machine.most]
    return [(size, share * case.slo, batches) for size, share, batches in product(sizes, _TIMEOUTS, _BATCHES)]


def sweep(cases: list[Case], requests: int, seed: int = 0) -> Iterator[Point]:
    """`requests` a point, the same ones for every server."""
    for case in cases:
        usual = _usual(case, requests, seed)
        for pattern, load in product(PATTERNS, LOADS):
            yield point(case, pattern, load, requests, seed, usual)


def point(case: Case, pattern: str, load: float, requests: int, seed: int, usual: tuple[int, float, int]) -> Point:
    machine, slo = case.machine, case.slo
    rate, times = _arrivals(case, pattern, load, requests, seed)
    policy, eager = ByDeadline(machine.most), SizeAndDelay(machine.most)
    fixed = {setting: servers.fixed_timeout(machine, times, slo, *setting, _JITTER) for setting in settings(case)}
    answered = (
        servers.batcher(machine, times, slo, policy, admission=True, jitter=_JITTER),
        servers.batcher(machine, times, slo, eager, admission=False, jitter=_JITTER),
        max(fixed.values()),
        fixed[usual],
        servers.best(machine, times, slo),
    )
    return Point(case, pattern, load, rate, *(count / len(times) for count in answered))


def _usual(case: Case, requests: int, seed: int) -> tuple[int, float, int]:
    traffic = [_arrivals(case, "poisson", load, requests, seed)[1] for load in LOADS if load <= 1.0]

    def answered(setting: tuple[int, float, int]) -> float:
        counts = (servers.fixed_timeout(case.machine, times, case.slo, *setting, _JITTER) for times in traffic)
        return sum(count / len(times) for count, times in zip(counts, traffic, strict=True))

    return max(settings(case), key=answered)


def _arrivals(case: Case, pattern: str, load: float, requests: int, seed: int) -> tuple[float, np.ndarray]:
    rate = load * case.machine.capacity(case.slo)
    return rate, PATTERNS[pattern](rate, requests / rate, np.random.default_rng(seed))
