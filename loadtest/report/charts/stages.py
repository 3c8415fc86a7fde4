"""Where the time of an answer goes: a bar an architecture, or a bar a load, as the service tells it."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from drawing.canvas import Canvas
from drawing.chart import Chart, is_narrow
from drawing.scales import Linear
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding
from loadtest.report.charts.labels import CHARACTER
from loadtest.report.charts.rows import HEAD, ROW, margin, name
from loadtest.results import Point

_ORDER = ("read", "decode", "queue", "batch", "compute", "render", "transport")
"""In which they happen; others follow."""
_SIZE, _LINE = 12.0, 22.0
Bar = tuple[str, int, Point]
"""Its name, the number of its architecture, and the load."""


def stages(found: Sequence[Finding], key: str, title: str, pick: Callable[[Finding], Point | None]) -> Chart | None:
    """`pick` chooses the load; None where the service told no stages at any."""
    bars = [(one.name, one.number, point) for one in found if (point := pick(one)) is not None and stages_of(point)]
    if not bars:
        return None
    words = (
        "Shares of the mean time of an answer as the service tells them (Server-Timing). Queue is waiting for a turn, "
        "batch for company while a runner is free; transport is what remains of the client's time: connection, kernel, "
        "event loop. At the right the mean in ms, and the load."
    )
    return Chart.drawn(key, title, words, lambda width: _bars(bars, width))


def by_load(finding: Finding, width: float) -> Canvas | None:
    """The same for every load on one architecture; None where the service told no stages."""
    bars = [(wording.load(point), finding.number, point) for point in finding.ramp or finding.valid if stages_of(point)]
    return _bars(bars, width) if bars else None


def _bars(bars: Sequence[Bar], width: float) -> Canvas:
    kinds = stage_names(point for _, _, point in bars)
    left, right = margin([words for words, _, _ in bars], width), width - (52 if is_narrow(width) else 130)
    legend = _legend(kinds, width)
    top = legend[-1][1] + _LINE
    canvas = Canvas(width, top + ROW * len(bars) + 8)
    for kind, (x, y) in zip(kinds, legend, strict=True):
        canvas.bar((x, y - 10), (13, 13), f"fill {stage_class(kind)}")
        canvas.text((x + 18, y + 1), kind.replace("_", " "), "tick")
    for row, (words, number, point) in enumerate(bars):
        y = top + ROW * row
        name(canvas, words, number, left, y + ROW / 2)
        parts = stages_of(point)
        whole = sum(parts.values())
        scale = Linear(whole, 0, right - left)
        x = left
        for kind, milliseconds in parts.items():
            wide = scale(milliseconds)
            told = f"{words}: {kind} {wording.number(milliseconds)} ms"
            canvas.bar((x, y + 3), (wide - 0.8, ROW - 6), f"fill {stage_class(kind)}", number, told)
            if wide > 34:
                share = wording.share(milliseconds, whole)
                canvas.text((x + wide / 2, y + 15), share, f"on-{stage_class(kind)} small", "middle", 0, number)
            x += wide
        total = wording.number(whole) if is_narrow(width) else f"{wording.number(whole)} ms, {wording.load(point)}"
        canvas.text((right + 8, y + 15), total, "value", "start", 0, number)
    return canvas


def stages_of(point: Point) -> Mapping[str, float]:
    """Stage -> mean milliseconds, in the order in which they happen; nothing twice."""
    parts = {each: mean for each, mean in point.stages.items() if each != "total" and mean > 0}
    return {each: parts[each] for each in sorted(parts, key=_place)}


def stage_names(points: Iterable[Point]) -> list[str]:
    """Every stage that any of them tells, in order."""
    return sorted({each for point in points for each in stages_of(point)}, key=_place)


def stage_class(stage: str) -> str:
    return f"s{_place(stage)[0]}"


def _place(stage: str) -> tuple[int, str]:
    order = next((place for place, each in enumerate(_ORDER) if stage.startswith(each)), len(_ORDER))
    return order, stage


def _legend(kinds: Sequence[str], width: float) -> list[tuple[float, float]]:
    """Where the key of each stage goes, in as many lines as it takes."""
    x, y = 0.0, HEAD / 2
    places = []
    for kind in kinds:
        wide = len(kind) * CHARACTER * _SIZE + 34
        if x + wide > width:
            x, y = 0.0, y + _LINE
        places.append((x, y))
        x += wide
    return places
