"""What a run says of each architecture: the one place that picks and derives the numbers which all pages show."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, sqrt

from loadtest.analysis import sample_size as samples
from loadtest.analysis import wording
from loadtest.analysis.pooling import pooled
from loadtest.results import Capacity, Point, Run, Subject

_KEPT_UP = 0.95
"""A load was kept up with where at least this share of its requests was answered, at that share of the rate."""
_LIGHT = 0.5
"""A light load offers at most this share of what can be answered."""
_STEPS = "steps"
_CROWDS = frozenset({"offline", "multi_stream"})
"""Closed loops that ask for much at once."""
_MIXED = frozenset({"burst", "soak"})
"""Open loops whose latency at a mean rate is not that of a steady rate."""


@dataclass(frozen=True)
class Finding:
    """One subject over one protocol. Only valid points count; `points` has all of them, by load."""

    number: int
    """Which line, row and bubble belong together."""
    name: str
    subject: Subject
    points: list[Point]
    capacity: Capacity | None
    price_per_hour: float | None

    @property
    def valid(self) -> list[Point]:
        return [point for point in self.points if believable(point)]

    @cached_property
    def ramp(self) -> list[Point]:
        """Steady open loops, by rate: what a curve of latency against load is drawn from. Steps where there are some,
        for a search ends its loads as soon as they have failed. Loads of one rate are one.
        """
        open_loops = [point for point in self.valid if steady(point)]
        steps = pooled([point for point in open_loops if point.scenario == _STEPS])
        return steps if len(steps) > 1 else pooled(open_loops)

    @property
    def light(self) -> Point | None:
        """The lightest load: nothing waits there but for itself. One request at a time where every open loop that is
        valid was a heavy one.
        """
        alone = [point for point in self.valid if point.offered is None and point.scenario not in _CROWDS]
        alone.sort(key=lambda point: point.concurrency or 1)
        light = [point for point in self.ramp if (point.offered or 0.0) <= _LIGHT * (self.peak or 0.0)]
        return next(iter(light or alone or self.ramp), None)

    @property
    def busy(self) -> Point | None:
        """The heaviest steady load that was kept up with, of those that the SLO allows where that is known; without
        any, the closed loop that answered most.
        """
        kept = [point for point in self.ramp if kept_up(point)]
        most = self.capacity.high if self.capacity else inf
        allowed = [point for point in kept if (point.offered or 0.0) <= most]
        loads = allowed or kept or sorted(self.valid, key=lambda point: point.throughput)
        return loads[-1] if loads else None

    @property
    def peak(self) -> float | None:
        """Most answers a second under any load, however late."""
        return max((point.throughput for point in self.valid), default=None)

    @property
    def share(self) -> float | None:
        """Of the machine's ceiling, at the most answers a second; None where the ceiling or the network's multiply-adds
        are not known.
        """
        if not (self.peak and self.subject.macs and self.subject.ceiling):
            return None
        return self.peak * self.subject.macs / 1e9 / self.subject.ceiling

    @property
    def dollars_per_million(self) -> float | None:
        """Of answers at the highest rate within the SLO, on a machine that is kept that busy."""
        if self.price_per_hour is None or self.capacity is None or self.capacity.rate <= 0:
            return None
        return self.price_per_hour / 3600 / self.capacity.rate * 1e6

    @property
    def memory_mb(self) -> float | None:
        return max((each.server_memory_mb for each in self.points if each.server_memory_mb is not None), default=None)


def believable(point: Point) -> bool:
    return point.invalid is None and len(point.latencies) > 0 and point.seconds > 0


def steady(point: Point) -> bool:
    return point.offered is not None and point.scenario not in _MIXED


def kept_up(point: Point) -> bool:
    """A rate is never met exactly where arrivals are random: three standard deviations fewer are no failure."""
    answered, expected = len(point.latencies), (point.offered or 0.0) * point.seconds
    return answered >= _KEPT_UP * point.requests and answered >= _KEPT_UP * expected - 3 * sqrt(expected)


def refused(point: Point) -> int:
    """Requests that the service turned away, which is its right under overload, and no answer."""
    return sum(count for what, count in point.errors.items() if _is_refusal(what))


def failed(point: Point) -> int:
    return sum(point.errors.values()) - refused(point)


def unanswered(point: Point) -> int:
    return max(0, point.requests - len(point.latencies) - sum(point.errors.values()))


def _is_refusal(what: str) -> bool:
    return what.startswith(("429", "503")) or what.upper().startswith(("RESOURCE_EXHAUSTED", "UNAVAILABLE"))


def findings(run: Run) -> list[Finding]:
    """One for each subject and protocol, those with the highest rate first, those without any last."""
    found = []
    for name, subject in zip(wording.names(run), run.subjects, strict=True):
        protocols = list(dict.fromkeys(point.protocol for point in subject.points)) or [""]
        searched = next((point.protocol for point in subject.points if point.scenario == "search"), protocols[0])
        for protocol in protocols:
            points = sorted((point for point in subject.points if point.protocol == protocol), key=_by_load)
            capacity = subject.capacity if protocol == searched else None
            title = f"{name} {protocol}" if len(protocols) > 1 else name
            found.append(Finding(0, title, subject, points, capacity, run.price_per_hour))
    found.sort(key=_rank)
    return [replace(each, number=number) for number, each in enumerate(found)]


def _by_load(point: Point) -> tuple[bool, str, float]:
    return (not steady(point), "" if steady(point) else point.scenario, point.offered or point.concurrency or 0)


def _rank(finding: Finding) -> tuple[float, float, str]:
    rate = finding.capacity.rate if finding.capacity else 0.0
    return (-rate, -(finding.peak or 0.0), finding.name)


def chart_percentile(found: list[Finding]) -> float:
    """p99 where nine in ten points of the curves have the answers for it, else the next lower that has."""
    counts = [len(point.latencies) for finding in found for point in finding.ramp]
    for percent in (99, 95, 90):
        if sum(count >= samples.needed(percent) for count in counts) >= 0.9 * len(counts):
            return percent
    return 50
