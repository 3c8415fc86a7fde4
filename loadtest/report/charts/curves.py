"""Latency against offered load, and how latencies are distributed: one line an architecture, named at its end."""

from collections.abc import Sequence

from drawing.canvas import Canvas, colour
from drawing.chart import Chart, is_narrow
from drawing.scales import Log, Nines, Scale
from loadtest.analysis import sample_size as samples
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding, believable, chart_percentile, failed, kept_up, refused, steady
from loadtest.report.charts.labels import Label, band_height, band_overhang, fan
from loadtest.results import Latencies, Point

LEFT, BOTTOM = 52.0, 40.0
_FLOOR, _CEILING = 0.01, 0.999


def against_load(found: Sequence[Finding]) -> Chart | None:
    """None where no architecture was under a steady open load."""
    percent = chart_percentile(list(found))
    lines = {one.number: _curve(one, percent) for one in found}
    shown = [one for one in found if lines[one.number]]
    if not shown:
        return None
    name = wording.percent_name(percent)
    slos = sorted({one.capacity.slo_ms / 1000 for one in shown if one.capacity})
    invalid = sum(steady(point) and not believable(point) for one in found for point in one.points)
    words = (
        f"{name} of all answers from their intended start, at each rate that was offered. A line rises where the "
        "architecture saturates. Hollow points: the service refused or failed more than 5 % of the requests, "
        "or fell behind."
    )
    if percent < 99:
        words += f" {name} and not p99, because too many loads had fewer than {samples.needed(99)} answers."
    if invalid:
        words += f" {invalid} invalid {'load is' if invalid == 1 else 'loads are'} left out."

    def draw(width: float) -> Canvas:
        names = [one.name for one in shown]
        top, right = band_height(names), width - band_overhang(names)
        bottom = top + (360 if is_narrow(width) else 420)
        points = [each for one in shown for each in lines[one.number]]
        canvas = Canvas(width, bottom + BOTTOM)
        across = Log.around([rate for rate, _, _ in points], LEFT, right)
        upwards = Log.around([seconds for _, seconds, _ in points] + slos, bottom, top)
        axes(canvas, across, upwards, [wording.tick(each) for each in across.ticks()], "offered requests/s")
        for slo in slos:
            y = upwards(slo)
            canvas.line((LEFT, y), (right, y), "slo")
            canvas.text((LEFT + 4, y - 5), f"SLO {wording.duration_tick(slo)}", "slo-name halo")
        for one in shown:
            line = [(across(rate), upwards(seconds)) for rate, seconds, _ in lines[one.number]]
            canvas.curve(line, f"line {colour(one.number)}", one.number)
            for at, (rate, seconds, point) in zip(line, lines[one.number], strict=True):
                kind = "dot" if kept_up(point) else "hollow"
                title = f"{one.name}: {name} {wording.duration(seconds)} at {wording.number(rate)}/s{_lost(point)}"
                canvas.dot(at, 3, f"{kind} {colour(one.number)}", one.number, title)
        ends = [Label(_end(lines[one.number], across, upwards), one.name, one.number) for one in shown]
        fan(canvas, ends, 6, right, top)
        return canvas

    return Chart.drawn("load", f"Latency against offered load ({name})", words, draw, len(shown))


def _curve(finding: Finding, percent: float) -> list[tuple[float, float, Point]]:
    found = []
    for point in finding.ramp:
        seconds = samples.percentile(point.latencies, percent)
        if seconds is not None and point.offered:
            found.append((point.offered, seconds, point))
    return found


def _end(line: list[tuple[float, float, Point]], across: Scale, upwards: Scale) -> tuple[float, float]:
    rate, seconds, _ = line[-1]
    return across(rate), upwards(seconds)


def _lost(point: Point) -> str:
    lost = [f"{count} {what}" for count, what in ((refused(point), "refused"), (failed(point), "failed")) if count]
    return f" ({', '.join(lost)} of {point.requests})" if lost else ""


def distribution(found: Sequence[Finding]) -> Chart | None:
    """None where nothing was measured."""
    shown = [(one, one.light.latencies) for one in found if one.light is not None]
    if not shown:
        return None
    words = (
        "What share of the answers came within which time, at the lightest load of each architecture. The vertical "
        "axis gives the slowest 1 % as much room as the rest; each line ends where its answers are too few to go on."
    )

    def draw(width: float) -> Canvas:
        names = [one.name for one, _ in shown]
        top, right = band_height(names), width - band_overhang(names)
        bottom = top + (340 if is_narrow(width) else 380)
        canvas = Canvas(width, bottom + BOTTOM)
        lines = {one.number: _shares(latencies) for one, latencies in shown}
        across = Log.around([seconds for line in lines.values() for seconds, _ in line], LEFT, right)
        upwards = Nines(_FLOOR, _CEILING, bottom, top)
        labels = [wording.duration_tick(each) for each in across.ticks()]
        axes(canvas, across, upwards, labels, "answered within", [f"{100 * each:g} %" for each in upwards.ticks()])
        for one, _ in shown:
            line = [(across(seconds), upwards(share)) for seconds, share in lines[one.number]]
            canvas.curve(line, f"line {colour(one.number)}", one.number, one.name)
        ends = [(one, lines[one.number][-1]) for one, _ in shown]
        fan(canvas, [Label((across(x), upwards(y)), one.name, one.number) for one, (x, y) in ends], 6, right, top)
        return canvas

    return Chart.drawn("distribution", "Latency distribution at the lightest load", words, draw, len(shown))


def _shares(latencies: Latencies) -> list[tuple[float, float]]:
    """(seconds, share of answers within), as far up as the number of answers supports."""
    whole = len(latencies)
    limit = (samples.highest(whole) or 50) / 100
    line = [(min(seconds, latencies.longest), below / whole) for seconds, below in latencies.cumulative()]
    kept = [(seconds, share) for seconds, share in line if _FLOOR <= share < limit]
    beyond = next((seconds for seconds, share in line if share >= limit), latencies.longest)
    return [*kept, (beyond, limit)]


def axes(
    canvas: Canvas,
    across: Log,
    upwards: Log | Nines,
    across_labels: list[str],
    title: str,
    upwards_labels: list[str] | None = None,
) -> None:
    """Both, with grid lines; upwards are seconds unless it has labels of its own."""
    canvas.across(across, upwards.end, upwards.start, across_labels)
    labels = upwards_labels or [wording.duration_tick(each) for each in upwards.ticks()]
    canvas.upwards(upwards, across.start, across.end, labels)
    canvas.text(((across.start + across.end) / 2, upwards.start + 33), title, "axis", "middle")
