"""A run beside an older one: what changed, whether chance would do the same, and what is past its budget.

A change breaks its budget where it is both: larger than the budget, and significant among all that were compared.
Loads that the baseline itself did not keep up with are compared with none: in an overload latencies grow for as long
as it lasts, and their size says more about the clock than about the service.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from loadtest.analysis import budgets, significance, wording
from loadtest.analysis import sample_size as samples
from loadtest.analysis.budgets import Budget
from loadtest.analysis.findings import Finding, believable, findings, kept_up
from loadtest.results import Point, Run, Subject

_SAME_RATE = 0.02
_USUAL = ("p50", "p99", budgets.THROUGHPUT, budgets.ERRORS, budgets.CAPACITY, budgets.MEMORY)
"""What is compared where no budget says what matters."""


@dataclass(frozen=True)
class Change:
    """One number of one architecture in both runs, in seconds, a second, MB or shares of the requests."""

    subject: int
    name: str
    load: str
    metric: str
    before: float
    after: float
    p: float | None
    """Adjusted for all that was compared; None where a number was measured once and has no distribution."""
    budget: Budget | None = None

    @property
    def worse(self) -> float:
        """By what share it became worse; below 0 where it is better."""
        if self.metric == budgets.ERRORS:
            return self.after - self.before
        change = self.after / self.before - 1 if self.before else 0.0
        return -change if budgets.falls(self.metric) else change

    @property
    def significant(self) -> bool:
        return self.p is None or self.p < significance.SURE

    @property
    def over_budget(self) -> bool:
        return self.budget is not None and self.significant and self.worse > self.budget.share


@dataclass(frozen=True)
class Comparison:
    """`alone` and `gone` are the names that only the new or only the old run measured; `broken` says which
    architectures the baseline measured and this run tried and could not.
    """

    baseline: Run
    changes: Sequence[Change]
    budgets: Sequence[Budget]
    alone: Sequence[str]
    gone: Sequence[str]
    broken: Sequence[str]

    @property
    def over(self) -> list[Change]:
        return [each for each in self.changes if each.over_budget]

    @property
    def unjudged(self) -> list[Budget]:
        """Budgets that nothing could be held to: a build must not pass because nothing was measured."""
        judged = {each.metric for each in self.changes}
        return [each for each in self.budgets if each.metric not in judged]

    @property
    def passed(self) -> bool:
        return not (self.over or self.unjudged or (self.budgets and self.broken))


def compare(run: Run, baseline: Run, limits: Sequence[Budget] = ()) -> Comparison:
    """`limits`: at most one a metric counts, the strictest. Without any, the usual numbers are compared."""
    strictest = {each.metric: min((b for b in limits if b.metric == each.metric), key=_share) for each in limits}
    now, before = ({_key(one): one for one in findings(each)} for each in (run, baseline))
    changes: list[Change] = []
    for key, finding in now.items():
        if key in before:
            changes += _changes(finding, before[key], tuple(strictest) or _USUAL)
    judged = [index for index, each in enumerate(changes) if each.p is not None]
    chances = significance.adjusted([changes[index].p or 0.0 for index in judged])
    for index, p in zip(judged, chances, strict=True):
        changes[index] = replace(changes[index], p=p)
    return Comparison(
        baseline,
        [replace(each, budget=strictest.get(each.metric)) for each in changes],
        list(strictest.values()),
        [one.name for key, one in now.items() if key not in before],
        [one.name for key, one in before.items() if key not in now],
        list(_broken(run, baseline)),
    )


def _share(budget: Budget) -> float:
    return budget.share


def steps(baseline: Run, subject: Subject, protocol: str) -> tuple[float, ...]:
    """Rates of the steps that `baseline` put on the same model: whoever will be compared with it asks them again.
    None where it had no such model.
    """
    same = [each for each in baseline.subjects if _identity(each) == _identity(subject)]
    points = [point for each in same for point in each.points if point.protocol == protocol]
    return tuple(sorted({each.offered for each in points if each.scenario == "steps" and each.offered is not None}))


def _key(finding: Finding) -> tuple[object, ...]:
    return *_identity(finding.subject), finding.points[0].protocol if finding.points else ""


def _identity(subject: Subject) -> tuple[object, ...]:
    """What the same thing is called in two runs: a version's number grows with every export."""
    return subject.model, subject.precision, subject.image_size


def _broken(run: Run, baseline: Run) -> Iterator[str]:
    good = {_identity(each) for each in baseline.subjects if each.problem is None and each.points}
    for name, subject in zip(wording.names(run), run.subjects, strict=True):
        if subject.problem is not None and _identity(subject) in good:
            yield f"{name}: {subject.problem}"


def _changes(finding: Finding, before: Finding, metrics: Sequence[str]) -> Iterator[Change]:
    def change(load: str, metric: str, was: float, now: float, p: float | None) -> Change:
        return Change(finding.number, finding.name, load, metric, was, now, p)

    for now, was in _same_loads(finding.points, before.points):
        for metric in metrics:
            for figures in _figures(metric, was, now):
                yield change(_load(now), metric, *figures)
    able, was_able = finding.capacity, before.capacity
    if budgets.CAPACITY in metrics and able and was_able and able.slo_ms == was_able.slo_ms:
        p = significance.capacities_differ(was_able, able)
        yield change(f"SLO {able.slo_ms:g} ms", budgets.CAPACITY, was_able.rate, able.rate, p)
    if budgets.MEMORY in metrics and finding.memory_mb is not None and before.memory_mb is not None:
        yield change("most", budgets.MEMORY, before.memory_mb, finding.memory_mb, None)


def _figures(metric: str, was: Point, now: Point) -> Iterator[tuple[float, float, float]]:
    """Before, after and p; nothing where either says too little of it."""
    if (percent := budgets.LATENCIES.get(metric)) is not None:
        if min(was.requests, now.requests) >= samples.needed(percent):
            old, new = _of_all(was, percent), _of_all(now, percent)
            if old < inf:
                lost = new == inf
                p = significance.losses_differ(was, now) if lost else significance.percentiles_differ(was, now, percent)
                yield old, new, p
    elif metric == budgets.THROUGHPUT:
        yield was.throughput, now.throughput, significance.rates_differ(was, now)
    elif metric == budgets.ERRORS:
        old, new = (1 - len(each.latencies) / each.requests for each in (was, now))
        yield old, new, significance.losses_differ(was, now)


def _of_all(point: Point, percent: float) -> float:
    """Seconds that `percent` of the requests were answered within, those without an answer being slower than any: who
    refuses one request in ten has no p99.
    """
    among = percent * point.requests / max(1, len(point.latencies))
    return point.latencies.percentile(among) or inf if among <= 100 else inf


def _same_loads(now: Sequence[Point], before: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Both valid, of one kind and, in an open loop, of rates within 2 %; the baseline kept up with it. Not those of a
    search, which end as soon as they have failed: what it found is compared, the capacity.
    """
    left = [each for each in before if believable(each) and kept_up(each) and each.scenario != "search"]
    for point in now:
        match = next((each for each in left if _kind(point) == _kind(each) and _same_rate(point, each)), None)
        if match is not None and point.invalid is None and point.requests > 0 and point.seconds > 0:
            left.remove(match)
            yield point, match


def _kind(point: Point) -> tuple[object, ...]:
    closed = point.concurrency if point.offered is None else None
    return point.scenario, point.tool, point.protocol, point.offered is None, closed


def _same_rate(one: Point, other: Point) -> bool:
    if one.offered is None or other.offered is None:
        return True
    return abs(one.offered - other.offered) <= _SAME_RATE * other.offered


def _load(point: Point) -> str:
    return f"{wording.scenario(point)}, {wording.load(point)}"
