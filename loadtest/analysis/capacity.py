"""The highest rate that keeps p99 under the SLO: found by bisection, and how sure that is.

A rate keeps it where at most 1 % of its requests are answered late, or not at all. Loads are short and queues have a
memory: the same rate, asked again, gives another share of late requests. So that the bisection is one of beliefs:
every load, with as many requests as it had, makes some capacities likelier than others, and the next load's rate is the
one that is as likely above the capacity as below it. What is left at the end is the capacity and its 95 % interval.

The share of late requests is taken to rise with the rate as log-odds do with a logarithm, of unknown steepness
(with a model that takes constant time it is a cliff, with one whose time varies a slope). Requests that wait in the
same queue are late together and are no independent witnesses: those that come in bunches count for less (the variance
from second to second over the binomial one: the design effect).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.results import Capacity

ALLOWED = 0.01
_SPAN = 8.0  # the capacity lies between the guess over this and the guess times this
_RATES, _STEEPNESS = 600, np.geomspace(4.0, 250.0, 16)
_SURE = 1.08  # ratio of the interval's ends that ends the search
_LEAST_PROBES = 4
WIDE = 1.5
"""Ratio of the interval's ends past which a search goes on longer than it otherwise would."""
_BUNCHED = 24.0, 60.0  # design effect of a single queue near its limit, and how many blocks' worth that counts for
_MOST_SHARE = 0.05  # past which only that it is past it counts: how an overload goes on says little of where it begins

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """A load of `rate` requests/s: for each second how many requests were meant to start, and how many of those were
    not answered within the SLO.
    """

    rate: float
    blocks: tuple[tuple[int, int], ...]

    @property
    def asked(self) -> int:
        return sum(asked for asked, _ in self.blocks)

    @property
    def over(self) -> int:
        return sum(over for _, over in self.blocks)


def search(probe: Callable[[float], Probe | None], guess: float, slo_ms: float, most: int = 9) -> Capacity | None:
    """`probe` loads the service with a rate, at most `most` times; None from it means that the load said nothing.

    `guess` is where to begin. As many loads again follow where the interval is wider than WIDE by then. None where no
    load of it said anything.
    """
    probes: list[Probe] = []
    found: Capacity | None = None
    rate = guess
    for number in range(2 * most):
        if number >= most and found is not None and not is_wide(found):
            break
        one = probe(rate)
        if one is None or not one.asked:
            continue
        probes.append(one)
        found = estimate(probes, guess, slo_ms)
        if len(probes) >= _LEAST_PROBES and found.high / found.low <= _SURE:
            break
        rate = found.rate
    return found


def is_wide(found: Capacity) -> bool:
    return found.high / found.low > WIDE


def estimate(probes: Sequence[Probe], guess: float, slo_ms: float) -> Capacity:
    """From all loads together."""
    rates = guess * np.geomspace(1 / _SPAN, _SPAN, _RATES)
    belief = _belief(probes, rates)
    low, middle, high = (float(rates[np.searchsorted(belief, share)]) for share in (0.025, 0.5, 0.975))
    return Capacity(middle, low, high, slo_ms, sum(each.asked for each in probes))


def _belief(probes: Sequence[Probe], rates: Floats) -> Floats:
    """For each rate how likely it is that the capacity is no higher."""
    bunched = _design_effect(probes)
    odds = np.log(ALLOWED / (1 - ALLOWED))
    likelihood = np.zeros((len(_STEEPNESS), len(rates)))
    for each in probes:
        share = np.exp(-np.logaddexp(0, -odds - _STEEPNESS[:, None] * np.log(each.rate / rates)))
        over: float = each.over
        if over > _MOST_SHARE * each.asked:
            over, share = _MOST_SHARE * each.asked, np.minimum(share, _MOST_SHARE)
        share = np.clip(share, 1e-12, 1 - 1e-12)
        likelihood += (over * np.log(share) + (each.asked - over) * np.log1p(-share)) / bunched
    density = np.exp(likelihood - likelihood.max()).sum(axis=0)
    return np.asarray(np.cumsum(density) / density.sum())


def _design_effect(probes: Sequence[Probe]) -> float:
    """How many times more late requests vary from second to second than independent ones would; at least 1."""
    usual, weight = _BUNCHED
    spread, blocks = usual * weight, weight
    for each in probes:
        share = each.over / each.asked
        if 0 < share < 0.2 and len(each.blocks) > 1:
            spread += sum((over - asked * share) ** 2 / (asked * share * (1 - share)) for asked, over in each.blocks)
            blocks += len(each.blocks) - 1
    return max(1.0, spread / blocks)
