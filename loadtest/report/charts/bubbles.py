"""Accuracy against latency against size; where accuracy is unknown, size against latency and no more."""

from collections.abc import Sequence
from itertools import groupby
from math import sqrt

from drawing.canvas import Canvas, colour
from drawing.chart import Chart, is_narrow
from drawing.scales import Linear, Log
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding
from loadtest.report.charts.labels import Box, Label, scatter

_LEFT, _TOP, _BOTTOM = 56.0, 14.0, 42.0
_FEW = 3
"""Fewer without an accuracy than these are named beside those that have one, and get no chart of their own."""
_LARGEST = {True: 15.0, False: 24.0}


def trade_offs(found: Sequence[Finding]) -> list[Chart]:
    """A chart for each source of accuracies, for those of two sources must not be compared; one for the rest."""
    timed = [one for one in found if _median(one) is not None]
    known = [one for one in timed if one.subject.accuracy is not None and one.subject.parameters]
    by_source = sorted(known, key=_source)
    groups = [(source, list(group)) for source, group in groupby(by_source, key=_source)]
    unknown = [one for one in timed if one.subject.accuracy is None and one.subject.parameters]
    missing = f" Not known of: {', '.join(one.name for one in unknown)}." if unknown else ""
    charts = [_accuracy(f"accuracy-{number}", *each, missing) for number, each in enumerate(groups, 1)]
    return charts + ([_size(unknown)] if len(unknown) >= (_FEW if charts else 1) else [])


def _accuracy(key: str, source: str, found: list[Finding], missing: str) -> Chart:
    words = (
        f"Accuracy ({source}) against the median latency at the lightest load; a bubble's area is the number of "
        f"parameters. Up and to the left is better.{missing}"
    )
    accuracies = [one.subject.accuracy or 0.0 for one in found]
    low, high = min(accuracies), max(accuracies)
    room = max(0.02, 0.12 * (high - low))

    def draw(width: float) -> Canvas:
        canvas, area = _frame(width)
        upwards = Linear(min(1.0, high + room), area.bottom, area.top, max(0.0, low - room))
        canvas.upwards(upwards, area.left, area.right, [f"{100 * each:.0f} %" for each in upwards.ticks()])
        heights = [upwards(each) for each in accuracies]
        told = [f"{100 * each:.1f} % accurate" for each in accuracies]
        _bubbles(canvas, area, found, heights, [one.subject.parameters or 0 for one in found], told)
        return canvas

    return Chart.drawn(key, "Accuracy against latency against size", words, draw, len(found))


def _size(found: list[Finding]) -> Chart:
    words = (
        f"The accuracy of {'these' if len(found) > 1 else 'this'} {len(found)} is not known, so none is drawn: "
        "parameters against the median latency at the lightest load. A bubble's area is the size on disk."
    )

    def draw(width: float) -> Canvas:
        canvas, area = _frame(width)
        parameters = [float(one.subject.parameters or 0) for one in found]
        upwards = Log.around(parameters, area.bottom, area.top, 1.6)
        canvas.upwards(upwards, area.left, area.right, [wording.compact_tick(each) for each in upwards.ticks()])
        told = [f"{wording.compact(each)} parameters" for each in parameters]
        sizes = [one.subject.bytes_on_disk or 0 for one in found]
        _bubbles(canvas, area, found, [upwards(each) for each in parameters], sizes, told)
        return canvas

    return Chart.drawn("size", "Size against latency", words, draw, len(found))


def _frame(width: float) -> tuple[Canvas, Box]:
    high = 470.0 if is_narrow(width) else 520.0
    return Canvas(width, high + _BOTTOM), Box(_LEFT, _TOP, width - 8, high)


def _bubbles(
    canvas: Canvas, area: Box, found: list[Finding], heights: list[float], sizes: Sequence[float], told: list[str]
) -> None:
    medians = [_median(one) or 0.0 for one in found]
    across = Log.around(medians, area.left, area.right, 1.5)
    canvas.across(across, area.top, area.bottom, [wording.duration_tick(each) for each in across.ticks()])
    middle = (area.left + area.right) / 2
    canvas.text((middle, area.bottom + 34), "median latency at the lightest load", "axis", "middle")
    largest = max(sizes) or 1
    unit = _LARGEST[is_narrow(canvas.width)]
    radii = [max(3.0, unit * sqrt(size / largest)) for size in sizes]
    places = [(across(each), y) for each, y in zip(medians, heights, strict=True)]
    for one, at, radius, median, what in zip(found, places, radii, medians, told, strict=True):
        title = f"{one.name}: {what}, median {wording.duration(median)}"
        canvas.dot(at, radius, f"bubble {colour(one.number)}", one.number, title)
    labels = [Label(at, one.name, one.number) for one, at in zip(found, places, strict=True)]
    scatter(canvas, labels, radii, area, 10.5 if is_narrow(canvas.width) else 12)


def _median(finding: Finding) -> float | None:
    return finding.light.latencies.percentile(50) if finding.light else None


def _source(finding: Finding) -> str:
    return finding.subject.accuracy_source or "source not stated"
