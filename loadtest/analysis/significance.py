"""Whether two loads differ, or chance would do the same.

A percentile is compared by how many answers of each run are slower than the percentile of both together. Neither the
usual Mann-Whitney test, which asks for the middle and is blind to a tail, nor a bootstrap, which must draw anew from
histograms whose tails are a handful of answers: under no change these two counts are hypergeometric, exactly, whatever
the distribution (Fisher's test).

That takes answers to be independent, and those that wait in one queue are not: near saturation the same service, asked
twice, would be found "changed" every other time. So both runs' stretches of time are also dealt anew to two hands, in
every way there is: no change means that any deal is as likely as the one that happened. A difference has to stand
out by both.

Many comparisons find something by chance. `adjusted` (Benjamini and Hochberg) bounds that: without any change, the
chance that even one of all comparisons has an adjusted p below 0.01 is 1 in 100.
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from math import erfc, log, sqrt

import numpy as np
from numpy.typing import NDArray

from loadtest.analysis.pooling import merged
from loadtest.results import Capacity, Latencies, Point

SURE = 0.01
"""Adjusted p below which a change is called one."""
_FEWEST, _MOST = 5, 10  # stretches a run: fewer deal into too few hands, more into too many to try
_95_PERCENT = 1.96

Counts = NDArray[np.float64]


def percentiles_differ(one: Point, other: Point, percent: float) -> float:
    """p of the two's `percent`-th percentile being the same, from 0 to 1. Both must have answers."""
    cut = _pooled_bucket(one.latencies, other.latencies, percent)
    slower = [_slower(each.latencies, cut) for each in (one, other)]
    answers = [len(each.latencies) for each in (one, other)]
    p = fisher(slower[0], answers[0], slower[1], answers[1])
    if p >= SURE or not (_dealt(one) and _dealt(other)):
        return p
    ours, theirs = _dealt(one), _dealt(other)
    stretches = [*ours, *theirs]
    counts = np.array([_slower(each, cut) for each in stretches], float)
    sizes = np.array([len(each) for each in stretches], float)
    return max(p, dealt_anew(counts, sizes, len(ours)))


def rates_differ(one: Point, other: Point) -> float:
    """p of the two answering as many a second, of what was offered to each where that is known."""
    exposure = [each.seconds * (each.offered or 1.0) for each in (one, other)]
    answers = [len(each.latencies) for each in (one, other)]
    # Of all answers, each fell to one of the two with a chance that is its share of the time: a binomial test, which
    # is Fisher's for a population without end.
    share, total = exposure[0] / sum(exposure), sum(answers)
    spread = sqrt(total * share * (1 - share))
    p = _two_sided((answers[0] - total * share) / spread) if spread else 1.0
    if p >= SURE or not (_dealt(one) and _dealt(other)):
        return p
    ours, theirs = _dealt(one), _dealt(other)
    counts = np.array([len(each) for each in (*ours, *theirs)], float)
    sizes = np.array([exposure[0] / len(ours)] * len(ours) + [exposure[1] / len(theirs)] * len(theirs))
    return max(p, dealt_anew(counts, sizes, len(ours)))


def losses_differ(one: Point, other: Point) -> float:
    """p of as large a share of both's requests ending without an answer."""
    lost = [max(0, each.requests - len(each.latencies)) for each in (one, other)]
    return fisher(lost[0], one.requests, lost[1], other.requests)


def capacities_differ(one: Capacity, other: Capacity) -> float:
    """p of the same highest rate, its intervals being those of a normal distribution of the logarithm."""
    if min(one.low, one.rate, other.low, other.rate) <= 0:
        return 1.0
    spread = sqrt(sum((log(each.high / each.low) / (2 * _95_PERCENT)) ** 2 for each in (one, other)))
    return _two_sided(log(other.rate / one.rate) / spread) if spread else 1.0


def fisher(slow: int, of: int, other_slow: int, other_of: int) -> float:
    """p of `slow` of `of` and `other_slow` of `other_of` being the same share (exact, two-sided)."""
    total, everybody = slow + other_slow, of + other_of
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, everybody + 1)))))

    def ways(among: int, chosen: NDArray[np.int64]) -> Counts:
        found: Counts = factorials[among] - factorials[chosen] - factorials[among - chosen]
        return found

    possible = np.arange(max(0, total - other_of), min(total, of) + 1)
    logarithms = ways(of, possible) + ways(other_of, total - possible) - ways(everybody, np.array(total))
    chances = np.exp(logarithms)
    seen = chances[slow - possible[0]]
    return min(1.0, float(chances[chances <= seen * (1 + 1e-7)].sum()))


def dealt_anew(counts: Counts, sizes: Counts, first: int) -> float:
    """p of shares that differ as much between the `first` stretches and the others, over every way to deal them."""
    hands = _hands(len(counts), first)
    ours, our_size = hands @ counts, hands @ sizes
    difference = np.abs(ours / our_size - (counts.sum() - ours) / (sizes.sum() - our_size))
    return float(np.mean(difference >= difference[0] * (1 - 1e-9)))


def adjusted(chances: Sequence[float]) -> list[float]:
    """Each p such that those below a level are wrong no more often than that level says, all together."""
    order = sorted(range(len(chances)), key=chances.__getitem__, reverse=True)
    found, least = [1.0] * len(chances), 1.0
    for place, index in enumerate(order):
        least = min(least, chances[index] * len(chances) / (len(chances) - place))
        found[index] = least
    return found


@cache
def _hands(stretches: int, first: int) -> Counts:
    """A row a way to choose `first` of so many, 1 where chosen; the row of those that come first is the first."""
    chosen = np.array(list(combinations(range(stretches), first)))
    hands = np.zeros((len(chosen), stretches))
    np.put_along_axis(hands, chosen, 1.0, axis=1)
    return hands


def _dealt(point: Point) -> list[Latencies]:
    """Its stretches, neighbours put together where there are too many; none where too few."""
    kept = [each for each in point.stretches if len(each)]
    if len(kept) < _FEWEST:
        return []
    together = -(-len(kept) // _MOST)
    return [merged(kept[start : start + together]) for start in range(0, len(kept), together)]


def _pooled_bucket(one: Latencies, other: Latencies, percent: float) -> int:
    """Where the percentile of both together lies."""
    both = merged([one, other])
    wanted, below = len(both) * percent / 100, 0
    for bucket in sorted(both.counts):
        below += both.counts[bucket]
        if below >= wanted:
            return bucket
    raise ValueError("no answers to compare")


def _slower(latencies: Latencies, bucket: int) -> int:
    return sum(count for each, count in latencies.counts.items() if each > bucket)


def _two_sided(deviations: float) -> float:
    return erfc(abs(deviations) / sqrt(2))
