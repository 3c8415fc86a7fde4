"""What is done to each model: MLPerf's scenarios by their names, run by its LoadGen, and open loops by Locust."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from loadtest.analysis import capacity
from loadtest.analysis.capacity import Probe
from loadtest.generator.arrivals import Arrivals
from loadtest.generator.jobs import Closed, MLPerf
from loadtest.measure import Loads
from loadtest.results import Subject
from loadtest.scenario_names import MLPERF

_STEPS = (0.2, 0.5, 0.7, 0.85, 1.0)  # of what a closed loop reaches
_EVEN = 0.5
_SOAK_POINTS = 6
_USERS = 16  # of the closed loop that shows what it can do
_FEELER_SECONDS = 1.5
_ENOUGH = 330  # answers: a p99 needs 299
_PATIENCE = 4.0  # times --seconds, the longest a load may take to get them
_MARGIN = 1.2  # LoadGen plans its queries by a guess; with too low a one it stops before its time
_SEARCH = 16.0  # times --seconds, after which no further load of a search begins; twice that where its interval is wide
_GIVE_UP = 10, 0.05  # late requests, and share of all, that end a load of the search
_FALLBACK = 0.6  # of what it can do, for Server where nothing was searched


@dataclass(frozen=True)
class Plan:
    """Scenarios in order, seconds of a load, where LoadGen's logs go. `rates` are the steps', else they are found."""

    scenarios: tuple[str, ...]
    seconds: float
    slo: float
    folder: Path
    rates: tuple[float, ...] = ()


def sweep(subject: Subject, protocol: str, loads: Loads, plan: Plan, say: Callable[[str], None]) -> None:
    """Puts every scenario on one model and its points into `subject`, each as soon as it is there.

    Raises Ended and Collapsed.
    """
    reach = _Reach(loads, say)
    for scenario in plan.scenarios:
        if scenario == "search":
            _search(subject, loads, plan, reach, say)
        elif scenario in MLPERF:
            _mlperf(scenario, subject, protocol, loads, plan, reach, say)
        else:
            for number, load in enumerate(_open_loops(scenario, plan, reach)):
                say(f"{scenario}, {load.rate:.0f} requests/s")
                warm_up = 0.0 if scenario == "soak" and number else min(1.0, plan.seconds / 4)
                loads.put(scenario, load, warm_up, keep=subject.points.append)


class _Reach:
    """Answers a second of a closed loop: where to look for everything else. Nothing that a report would show, and
    measured only if somebody asks.
    """

    def __init__(self, loads: Loads, say: Callable[[str], None]) -> None:
        self._loads, self._say = loads, say

    @cached_property
    def rate(self) -> float:
        self._say("feeling its way")
        point, _ = self._loads.put("reach", Closed(_USERS, _FEELER_SECONDS), warm_up=_FEELER_SECONDS)
        return max(1.0, point.throughput)


def _long_enough(plan: Plan, rate: float) -> float:
    return min(max(plan.seconds, _ENOUGH / rate), _PATIENCE * plan.seconds)


def _open_loops(scenario: str, plan: Plan, reach: _Reach) -> list[Arrivals]:
    match scenario:
        case "burst":
            even = _EVEN * reach.rate
            return [Arrivals(even, _long_enough(plan, even), "burst")]
        case "soak":
            return [Arrivals(_EVEN * reach.rate, plan.seconds, seed=number) for number in range(_SOAK_POINTS)]
        case _:
            rates = plan.rates or [share * reach.rate for share in _STEPS]
            return [Arrivals(rate, _long_enough(plan, rate), seed=number) for number, rate in enumerate(rates)]


def _search(subject: Subject, loads: Loads, plan: Plan, reach: _Reach, say: Callable[[str], None]) -> None:
    number, began, guess, slo_ms = 0, time.monotonic(), _FALLBACK * reach.rate, 1000 * plan.slo
    made: list[Probe] = []

    def probe(rate: float) -> Probe | None:
        nonlocal number
        wide = bool(made) and capacity.is_wide(capacity.estimate(made, guess, slo_ms))
        if time.monotonic() - began > (2 if wide else 1) * _SEARCH * plan.seconds:
            return None
        number += 1
        say(f"search, {rate:.0f} requests/s")
        seconds = _long_enough(plan, rate)
        give_up = round(_GIVE_UP[0] + _GIVE_UP[1] * rate * seconds)
        arrivals = Arrivals(rate, seconds, seed=100 + number)
        point, outcome = loads.put("search", arrivals, min(1.0, plan.seconds / 4), give_up, subject.points.append)
        if point.invalid:
            return None
        made.append(Probe(rate, tuple(outcome.blocks)))
        return made[-1]

    subject.capacity = capacity.search(probe, guess, slo_ms)


def _mlperf(
    scenario: str, subject: Subject, protocol: str, loads: Loads, plan: Plan, reach: _Reach, say: Callable[[str], None]
) -> None:
    folder = plan.folder / f"{subject.model}-{subject.version}" / f"{protocol}-{scenario}"
    if scenario == "server":
        rate = subject.capacity.low if subject.capacity else _FALLBACK * reach.rate
    else:
        rate = _MARGIN * reach.rate
    say(scenario)
    load = MLPerf(MLPERF[scenario], plan.seconds, rate, plan.slo, str(folder))
    if scenario == "server":
        load = as_long_as_others(load, _long_enough(plan, rate))
    loads.put(scenario, load, warm_up=0.5, keep=subject.points.append)


def as_long_as_others(load: MLPerf, seconds: float) -> MLPerf:
    """For `seconds`: at a request a second LoadGen's hundred would take two minutes. It says where they are few."""
    return replace(load, seconds=seconds, least_queries=min(load.least_queries, max(1, round(load.rate * seconds))))


def overhead(
    subject: Subject, loads: Loads, connections: Sequence[int], seconds: float, say: Callable[[str], None]
) -> None:
    """Closed loops of so many connections. Raises Ended and Collapsed."""
    for count in connections:
        say(f"{count} connections")
        loads.put("overhead", Closed(count, seconds), warm_up=1.0, keep=subject.points.append)
