"""The search for the highest rate within the SLO, against queues whose true capacity is known."""

import math
from collections import defaultdict
from random import Random

import pytest

from loadtest.analysis.capacity import WIDE, Probe, search

SERVES, SLO = 100.0, 0.1  # a queue with one server that does 100 requests/s on average
TRUE = SERVES - math.log(100) / SLO
"""In an M/M/1 queue the time in the system is exponential with rate mu - lambda: its p99 is ln(100) / (mu - lambda)."""


def probe(rate: float, seconds: float, random: Random, skipped: float = 2.0) -> Probe:
    blocks: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    now = free = 0.0
    while (now := now + random.expovariate(rate)) < skipped + seconds:
        free = max(free, now) + random.expovariate(SERVES)
        if now >= skipped:
            block = blocks[int(now)]
            block[0] += 1
            block[1] += free - now > SLO
    return Probe(rate, tuple((asked, over) for asked, over in blocks.values()))


@pytest.mark.parametrize("guess", [30.0, 100.0])
def test_the_interval_holds_the_truth_as_often_as_it_says(guess: float) -> None:
    held = 0
    for seed in range(40):
        random = Random(seed)
        found = search(lambda rate, random=random: probe(rate, 10.0, random), guess, 1000 * SLO)  # type: ignore[misc]  # a default of a lambda
        assert found is not None and found.low <= found.rate <= found.high and found.slo_ms == 100
        assert found.rate == pytest.approx(TRUE, rel=0.35)
        held += found.low <= TRUE <= found.high
    assert held >= 35, "of 40; 38 are expected"


def test_short_loads_go_on_until_the_interval_is_narrow() -> None:
    for seed in range(8):
        random, loads = Random(seed), 0

        def short(rate: float, random: Random = random) -> Probe:
            nonlocal loads
            loads += 1
            return probe(rate, 1.0, random)

        found = search(short, 60.0, 1000 * SLO, most=4)
        assert found is not None and 4 <= loads <= 8
        assert loads == 8 or found.high / found.low <= WIDE
    assert loads > 4, "four loads of a second each say too little"


def test_longer_loads_make_it_narrower() -> None:
    widths = []
    for seconds in (5.0, 120.0):
        random = Random(1)
        found = search(lambda rate, random=random, s=seconds: probe(rate, s, random), 60.0, 1000 * SLO)  # type: ignore[misc]  # a default of a lambda
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[1] < 0.5 * widths[0] and widths[1] < 0.2 * TRUE


def test_loads_that_say_nothing_are_left_out() -> None:
    assert search(lambda rate: None, 50.0, 100.0) is None
    random, loads = Random(3), iter([False, True] * 20)
    found = search(lambda rate: probe(rate, 10.0, random) if next(loads) else None, 50.0, 1000 * SLO)
    assert found is not None and found.rate == pytest.approx(TRUE, rel=0.35)
