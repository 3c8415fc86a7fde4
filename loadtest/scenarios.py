"""What is done to each model: MLPerf's scenarios by their names, run by its LoadGen, and open loops by Locust."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path

from loadtest.analysis import capacity
from loadtest.analysis.capacity import Probe
from loadtest.generator.arrivals import Arrivals
from loadtest.generator.jobs import Closed, MLPerf, Outcome
from loadtest.measure import Loads
from loadtest.results import Point, Subject
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


@dataclass
class Sweep:
    """Every scenario of `plan` on one model. Its points go into `subject`, each as soon as it is there."""

    subject: Subject
    protocol: str
    loads: Loads
    plan: Plan
    say: Callable[[str], None]

    def run(self) -> None:
        """Raises Ended and Collapsed."""
        for scenario in self.plan.scenarios:
            if scenario == "search":
                self._search()
            elif scenario in MLPERF:
                self._ask_loadgen(scenario)
            else:
                for number, load in enumerate(self._list_open_loops(scenario)):
                    self.say(f"{scenario}, {load.rate:.0f} requests/s")
                    self._put(scenario, load, 0.0 if scenario == "soak" and number else self._warm_up)

    @cached_property
    def _reach(self) -> float:
        """Answers a second of a closed loop: where to look for everything else. Nothing that a report would show, and
        measured only if somebody asks.
        """
        self.say("feeling its way")
        point, _ = self.loads.put("reach", Closed(_USERS, _FEELER_SECONDS), warm_up=_FEELER_SECONDS)
        return max(1.0, point.throughput)

    @property
    def _warm_up(self) -> float:
        return min(1.0, self.plan.seconds / 4)

    def _put(
        self, scenario: str, load: Arrivals | MLPerf, warm_up: float, give_up_over: int | None = None
    ) -> tuple[Point, Outcome]:
        return self.loads.put(scenario, load, warm_up, give_up_over, self.subject.points.append)

    def _find_seconds(self, rate: float) -> float:
        return min(max(self.plan.seconds, _ENOUGH / rate), _PATIENCE * self.plan.seconds)

    def _list_open_loops(self, scenario: str) -> list[Arrivals]:
        match scenario:
            case "burst":
                even = _EVEN * self._reach
                return [Arrivals(even, self._find_seconds(even), "burst")]
            case "soak":
                even = _EVEN * self._reach
                return [Arrivals(even, self.plan.seconds, seed=number) for number in range(_SOAK_POINTS)]
            case _:
                rates = self.plan.rates or [share * self._reach for share in _STEPS]
                return [Arrivals(rate, self._find_seconds(rate), seed=number) for number, rate in enumerate(rates)]

    def _search(self) -> None:
        guess, slo_ms, began = _FALLBACK * self._reach, 1000 * self.plan.slo, time.monotonic()
        made: list[Probe] = []
        seeds = count(101)

        def probe(rate: float) -> Probe | None:
            wide = bool(made) and capacity.is_wide(capacity.estimate(made, guess, slo_ms))
            if time.monotonic() - began > (2 if wide else 1) * _SEARCH * self.plan.seconds:
                return None
            self.say(f"search, {rate:.0f} requests/s")
            seconds = self._find_seconds(rate)
            give_up = round(_GIVE_UP[0] + _GIVE_UP[1] * rate * seconds)
            point, outcome = self._put("search", Arrivals(rate, seconds, seed=next(seeds)), self._warm_up, give_up)
            if point.invalid:
                return None
            made.append(Probe(rate, tuple(outcome.blocks)))
            return made[-1]

        self.subject.capacity = capacity.search(probe, guess, slo_ms)

    def _ask_loadgen(self, scenario: str) -> None:
        folder = self.plan.folder / f"{self.subject.model}-{self.subject.version}" / f"{self.protocol}-{scenario}"
        if scenario == "server":
            rate = self.subject.capacity.low if self.subject.capacity else _FALLBACK * self._reach
        else:
            rate = _MARGIN * self._reach
        self.say(scenario)
        load = MLPerf(MLPERF[scenario], self.plan.seconds, rate, self.plan.slo, str(folder))
        self._put(scenario, as_long_as_others(load, self._find_seconds(rate)) if scenario == "server" else load, 0.5)


def as_long_as_others(load: MLPerf, seconds: float) -> MLPerf:
    """For `seconds`: at a request a second LoadGen's hundred would take two minutes. It says where they are few."""
    return replace(load, seconds=seconds, least_queries=min(load.least_queries, max(1, round(load.rate * seconds))))


def overhead(
    subject: Subject, loads: Loads, connections: Sequence[int], seconds: float, say: Callable[[str], None]
) -> None:
    """Closed loops of so many connections. Raises Ended and Collapsed."""
    for users in connections:
        say(f"{users} connections")
        loads.put("overhead", Closed(users, seconds), warm_up=1.0, keep=subject.points.append)
