"""What became of a latency since the baseline: a row an architecture, a dot a load."""

from collections.abc import Sequence
from itertools import groupby
from math import isfinite

from drawing.canvas import Canvas
from drawing.chart import Chart, is_narrow
from drawing.scales import Ratio
from loadtest.analysis.comparison import Change
from loadtest.report.charts.rows import FOOT, HEAD, ROW, margin, name

_LEAST, _ROOM = 0.1, 1.03


def changes(found: Sequence[Change], metric: str) -> Chart | None:
    """Of `metric`, a percentile; None where nothing of it was compared."""
    some = [each for each in found if each.metric == metric and isfinite(each.worse)]
    if not some:
        return None
    rows = [(of_one[0], of_one) for _, group in groupby(some, key=lambda each: each.subject) if (of_one := list(group))]
    ratios = [1 + each.worse for each in some]
    words = (
        "How much longer it takes than in the baseline, a dot a load. Full dots are significant; hollow ones are what "
        "chance does too."
    )

    def draw(width: float) -> Canvas:
        left, right = margin([first.name for first, _ in rows], width), width - (12 if is_narrow(width) else 40)
        bottom = HEAD + ROW * len(rows)
        canvas = Canvas(width, bottom + FOOT)
        scale = Ratio(min(1 - _LEAST, *ratios) / _ROOM, max(1 + _LEAST, *ratios) * _ROOM, left, right)
        canvas.across(scale, HEAD - 8, bottom, [_percent(each) for each in scale.ticks()])
        canvas.line((scale(1), HEAD - 8), (scale(1), bottom), "zero")
        if some[0].budget is not None and 1 + some[0].budget.share < scale.high:
            x = scale(1 + some[0].budget.share)
            canvas.line((x, HEAD - 8), (x, bottom), "slo")
            canvas.text((x, HEAD - 12), "budget", "slo-name", "middle")
        for row, (first, of_one) in enumerate(rows):
            y = HEAD + ROW * (row + 0.5)
            name(canvas, first.name, first.subject, left, y)
            for each in sorted(of_one, key=lambda one: one.significant):
                css = "bad" if each.over_budget else "c0"
                kind = "dot" if each.significant else "hollow"
                told = f"{each.name}, {each.load}: {100 * each.worse:+.1f} %"
                canvas.dot((scale(1 + each.worse), y), 4, f"{kind} {css}", first.subject, told)
        return canvas

    return Chart.drawn(f"change-{metric}", f"{metric} since the baseline", words, draw)


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f} %" if ratio != 1 else "0"
