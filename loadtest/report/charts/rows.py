"""Charts with a row an architecture: its highest rate, its batches, memory and processor time."""

from collections import Counter
from collections.abc import Callable, Sequence

from drawing.canvas import Canvas, colour
from drawing.chart import Chart, is_narrow
from drawing.scales import Linear, Log
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding
from loadtest.report.charts.labels import CHARACTER
from loadtest.results import Capacity

ROW, HEAD, FOOT = 22.0, 26.0, 40.0
_SIZE = 12.0
_BATCHES = ((1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 10**9))


def capacity(found: Sequence[Finding]) -> Chart | None:
    """None where no search for the highest rate was made."""
    shown = [(one, one.capacity) for one in found if one.capacity is not None]
    if not shown:
        return None
    slos = ", ".join(sorted({f"{each.slo_ms:g} ms" for _, each in shown}))
    words = f"The highest rate whose p99 stayed within {slos}, with its 95 % confidence interval."

    def draw(width: float) -> Canvas:
        left, right = margin([one.name for one, _ in shown], width), width - (92 if is_narrow(width) else 150)
        bottom = HEAD + ROW * len(shown)
        canvas = Canvas(width, bottom + FOOT)
        ends = [max(edge, each.rate / 10) for _, each in shown for edge in (each.low, each.rate, each.high) if edge > 0]
        scale = Log.around(ends or [1.0], left, right, 1.3)
        canvas.across(scale, HEAD - 8, bottom, [wording.tick(each) for each in scale.ticks()])
        canvas.text(((left + right) / 2, bottom + 33), "requests/s", "axis", "middle")
        for row, (one, each) in enumerate(shown):
            y = HEAD + ROW * (row + 0.5)
            name(canvas, one.name, one.number, left, y)
            title = f"{one.name}: {_rate(each)}, {each.samples:,} requests"
            canvas.line(
                (scale(max(each.low, scale.low)), y), (scale(each.high), y), f"interval {colour(0)}", one.number
            )
            canvas.dot((scale(max(each.rate, scale.low)), y), 4.5, f"dot {colour(0)}", one.number, title)
            text = wording.number(each.rate) if is_narrow(width) else _rate(each)
            canvas.text((right + 10, y + 4), text, "value", "start", 0, one.number)
        return canvas

    return Chart.drawn("capacity", "Highest rate within the SLO", words, draw)


def _rate(each: Capacity) -> str:
    return f"{wording.number(each.rate)} ({wording.number(each.low)} - {wording.number(each.high)})"


def batches(found: Sequence[Finding]) -> Chart | None:
    """None where the service told of no batches."""
    shown = [(one, point) for one in found if (point := one.busy) is not None and point.batches]
    if not shown:
        return None
    words = (
        "What share of the batches had which size, at the heaviest load that was kept up with (within the SLO, where "
        "that was searched for). Batches form while requests wait; at a light load all are of one."
    )

    def draw(width: float) -> Canvas:
        left, right = margin([one.name for one, _ in shown], width), width - (46 if is_narrow(width) else 150)
        canvas = Canvas(width, HEAD + ROW * len(shown) + 8)
        last = max(size for _, point in shown for size in point.batches)
        columns = [(low, high) for low, high in _BATCHES if low <= last]
        wide = min(90.0, (right - left) / len(columns))
        for column, (low, high) in enumerate(columns):
            text = f"{low}" if low == high else f"{low}-{high}" if high < 10**9 else f"{low}+"
            canvas.text((left + wide * (column + 0.5), HEAD - 8), text, "tick", "middle")
        canvas.text((left + wide * len(columns) + 8, HEAD - 8), "mean", "tick")
        for row, (one, point) in enumerate(shown):
            y = HEAD + ROW * row
            name(canvas, one.name, one.number, left, y + ROW / 2)
            counts = Counter(point.batches)
            whole = counts.total()
            for column, (low, high) in enumerate(columns):
                part = sum(count for size, count in counts.items() if low <= size <= high)
                step = 0 if not part else 1 + min(4, int(5 * part / whole))
                told = f"{one.name}: {part:,} of {whole:,} batches at {wording.load(point)}"
                canvas.bar((left + wide * column + 1, y + 1), (wide - 2, ROW - 2), f"heat h{step}", one.number, told)
                if part:
                    at = (left + wide * (column + 0.5), y + 15)
                    canvas.text(at, wording.share(part, whole), f"on-h{step} small", "middle", 0, one.number)
            mean = sum(size * count for size, count in counts.items()) / whole
            words = f"{mean:.1f}" if is_narrow(width) else f"{mean:.1f} at {wording.load(point)}"
            canvas.text((left + wide * len(columns) + 8, y + 15), words, "value", "start", 0, one.number)
        return canvas

    return Chart.drawn("batches", "Batch sizes at the heaviest load sustained", words, draw)


def amounts(
    found: Sequence[Finding], key: str, title: str, words: str, pick: Callable[[Finding], float | None]
) -> Chart | None:
    """A bar for each of what `pick` says; None where it says nothing of any."""
    shown = [(one, value) for one in found if (value := pick(one)) is not None]
    if not shown:
        return None

    def draw(width: float) -> Canvas:
        left, right = margin([one.name for one, _ in shown], width), width - 60
        canvas = Canvas(width, 8 + ROW * len(shown) + 8)
        scale = Linear(max(value for _, value in shown) or 1.0, left, right)
        for row, (one, value) in enumerate(shown):
            y = 8 + ROW * row
            name(canvas, one.name, one.number, left, y + ROW / 2)
            canvas.bar((left, y + 4), (scale(value) - left, ROW - 8), f"fill {colour(0)}", one.number)
            canvas.text((scale(value) + 6, y + 15), wording.number(value), "value", "start", 0, one.number)
        return canvas

    return Chart.drawn(key, title, words, draw)


def margin(names: Sequence[str], width: float) -> float:
    """Room for the longest of the names."""
    longest = max(len(each) for each in names) * CHARACTER * _SIZE + 12
    return min(longest, width * 0.45)


def name(canvas: Canvas, words: str, subject: int, left: float, y: float) -> None:
    """Of a row, at the left of it, cut short where there is no room."""
    fits = int((left - 10) / (CHARACTER * _SIZE))
    canvas.text((left - 10, y + 4), words if len(words) <= fits else f"{words[: fits - 1]}…", "row", "end", 0, subject)
