"""Loads of one rate, put on the same architecture again and again, as one load of as many requests."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from loadtest.results import Latencies, Point

_SAME_RATE = 1.03


def pooled(points: Sequence[Point]) -> list[Point]:
    """Open loops by rate, those within 3 % of each other together, with the mean of their rates."""
    groups: list[list[Point]] = []
    for point in sorted(points, key=lambda each: each.offered or 0.0):
        if groups and (point.offered or 0.0) <= _SAME_RATE * (groups[-1][0].offered or 0.0):
            groups[-1].append(point)
        else:
            groups.append([point])
    return [_one(group) if len(group) > 1 else group[0] for group in groups]


def merged(several: Sequence[Latencies]) -> Latencies:
    """All their answers in one histogram."""
    total = Latencies()
    for one in several:
        total.total += one.total
        total.longest = max(total.longest, one.longest)
        for bucket, count in one.counts.items():
            total.counts[bucket] = total.counts.get(bucket, 0) + count
    return total


def _one(points: Sequence[Point]) -> Point:
    seconds = sum(point.seconds for point in points)
    errors, batches = Counter[str](), Counter[int]()
    for point in points:
        errors.update(point.errors)
        batches.update(point.batches)
    return replace(
        points[0],
        offered=sum((point.offered or 0.0) * point.seconds for point in points) / seconds,
        seconds=seconds,
        requests=sum(point.requests for point in points),
        latencies=merged([point.latencies for point in points]),
        errors=dict(errors),
        batches=dict(batches),
        stages=_mean_stages(points),
        server_cpu_seconds=_total([point.server_cpu_seconds for point in points]),
        server_memory_mb=max((each.server_memory_mb for each in points if each.server_memory_mb), default=None),
        stretches=[each for point in points for each in point.stretches],
    )


def _mean_stages(points: Sequence[Point]) -> dict[str, float]:
    """By answers."""
    totals, answers = dict[str, float](), 0
    for point in points:
        if point.stages:
            answers += len(point.latencies)
            for stage, mean in point.stages.items():
                totals[stage] = totals.get(stage, 0.0) + mean * len(point.latencies)
    return {stage: total / answers for stage, total in totals.items()} if answers else {}


def _total(seconds: Sequence[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return sum(known) if len(known) == len(seconds) else None
