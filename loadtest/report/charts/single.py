"""One architecture by itself: its percentiles at each load."""

from collections.abc import Sequence

from drawing.canvas import Canvas
from drawing.scales import Log
from loadtest.analysis import sample_size as samples
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding, kept_up, steady
from loadtest.report.charts.curves import BOTTOM, LEFT, axes
from loadtest.report.charts.labels import CHARACTER
from loadtest.results import Point

_TOP, _HEIGHT, _SIZE, _LINE = 12.0, 190.0, 11.5, 14.0
_COLOURS = {50: "c0", 90: "c2", 95: "c5", 99: "c1", 99.9: "c3"}


def percentiles(finding: Finding, width: float) -> Canvas | None:
    """Against the rate of open loops, or else the number of those who ask at once; None below two loads."""
    loads = finding.ramp
    title = "offered requests/s"
    if len(loads) < 2:
        loads = [point for point in finding.valid if point.offered is None and point.concurrency]
        title = "requests at a time"
    lines = {
        percent: [(_load(point), seconds, point) for point in loads if (seconds := _percentile(point, percent))]
        for percent in samples.PERCENTILES
    }
    lines = {percent: line for percent, line in lines.items() if len(line) > 1}
    if not lines:
        return None
    canvas = Canvas(width, _TOP + _HEIGHT + BOTTOM)
    right = width - 5 * CHARACTER * _SIZE - 8
    slo = [finding.capacity.slo_ms / 1000] if finding.capacity and steady(loads[0]) else []
    times = [seconds for line in lines.values() for _, seconds, _ in line]
    across = Log.around([_load(point) for point in loads], LEFT, right)
    upwards = Log.around(times + slo, _TOP + _HEIGHT, _TOP)
    axes(canvas, across, upwards, [wording.tick(each) for each in across.ticks()], title)
    for each in slo:
        canvas.line((LEFT, upwards(each)), (right, upwards(each)), "slo")
    ends = []
    for percent, line in lines.items():
        places = [(across(load), upwards(seconds)) for load, seconds, _ in line]
        canvas.curve(places, f"line {_COLOURS[percent]}", finding.number)
        for place, (load, seconds, point) in zip(places, line, strict=True):
            told = f"{wording.percent_name(percent)} {wording.duration(seconds)} at {wording.number(load)}"
            canvas.dot(place, 2.6, f"{'dot' if kept_up(point) else 'hollow'} {_COLOURS[percent]}", finding.number, told)
        ends.append((places[-1], percent))
    _name(canvas, ends, finding.number)
    return canvas


def _name(canvas: Canvas, ends: Sequence[tuple[tuple[float, float], float]], number: int) -> None:
    """Each line at its end, from above, none over another."""
    last = -_LINE
    for (x, y), percent in sorted(ends, key=lambda end: (end[0][1], -end[1])):
        last = max(y + 4, last + _LINE)
        canvas.text((x + 7, last), wording.percent_name(percent), f"own {_COLOURS[percent]}", "start", 0, number, _SIZE)


def _load(point: Point) -> float:
    return float(point.offered or point.concurrency or 1)


def _percentile(point: Point, percent: float) -> float | None:
    return samples.percentile(point.latencies, percent)
