"""What was tried, as a table for a terminal and as a page with a chart."""

from collections.abc import Sequence
from html import escape

from drawing import document, tables
from drawing.canvas import Canvas, colour
from drawing.chart import Chart, is_narrow
from drawing.scales import Linear, Log
from drawing.tables import Cell, Row, table
from export.advise.candidates import WAYS, Advice, Bounds, Failure, Result

_HEAD = ("", "candidate", "accuracy", "95 % interval", "training s", "parameters", "MB", "ms an image", "")
_ROW, _TOP, _BOTTOM, _CHARACTER = 24.0, 26.0, 42.0, 7.0


def format_table(results: Sequence[Result], failures: Sequence[Failure], bounds: Bounds, advice: Advice) -> str:
    """One line a candidate, the most accurate first, and a line for each that failed."""
    rows = [
        ("->" if each is advice.chosen else "", *_words(each), bounds.describe_excess(each)) for each in _sort(results)
    ]
    lines = [_HEAD, *rows]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(_HEAD))]
    said = [
        "  ".join(
            cell.ljust(width) if column in (0, 1, len(_HEAD) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in lines
    ]
    return "\n".join([*said, *(f"    {each.candidate.name} failed: {each.reason}" for each in failures)])


def render(data: str, results: Sequence[Result], failures: Sequence[Failure], bounds: Bounds, advice: Advice) -> str:
    """The page; `data` names the images."""
    title = f"Networks for {data}"
    images = results[0].images if results else 0
    chosen = "Nothing" if advice.chosen is None else advice.chosen.candidate.name
    failed = "".join(f"<li>{escape(each.candidate.name)}: {escape(each.reason)}</li>" for each in failures)
    charts = [_intervals(results), _trade_off(results)] if results else []
    return document.render(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="soft">Each network was adapted to the same training images and measured on the same {images:,} '
            "held-out ones.</p>",
            f"<p><b>Recommended: {escape(chosen)}.</b> {escape(advice.reason[:1].upper() + advice.reason[1:])}.</p>",
            _describe_bounds(bounds),
            _table(results, bounds),
            *map(document.render_chart, charts),
            f"<h2>Failed</h2><ul>{failed}</ul>" if failed else "",
        ],
    )


def _sort(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda each: (-each.accuracy, each.milliseconds))


def _words(each: Result) -> tuple[str, ...]:
    low, high = each.interval
    return (
        each.candidate.name,
        f"{each.accuracy:.1%}",
        f"{low:.1%} - {high:.1%}",
        f"{each.seconds:,.0f}",
        f"{each.parameters:,}",
        f"{each.size / 1e6:.2f}",
        f"{each.milliseconds:.3g}",
    )


def _describe_bounds(bounds: Bounds) -> str:
    said = [] if bounds.milliseconds is None else [f"{bounds.milliseconds:g} ms an image"]
    said += [] if bounds.megabytes is None else [f"{bounds.megabytes:g} MB"]
    return f"<p>Bounds: {' and '.join(said)}.</p>" if said else ""


def _table(results: Sequence[Result], bounds: Bounds) -> str:
    rows = []
    for each in _sort(results):
        name, accuracy, interval, seconds, parameters, size, milliseconds = _words(each)
        rows.append(
            Row(
                [
                    tables.text(name),
                    Cell(each.accuracy, accuracy),
                    Cell(each.interval[0], interval),
                    Cell(each.seconds, seconds),
                    Cell(each.parameters, parameters),
                    Cell(each.size, size),
                    Cell(each.milliseconds, milliseconds),
                    tables.text(bounds.describe_excess(each)),
                ]
            )
        )
    return table("Candidates", _HEAD[1:], rows, (0, 7))


def _intervals(results: Sequence[Result]) -> Chart:
    shown = _sort(results)
    words = (
        "Accuracy on the held-out images, with its 95 % interval (Wilson's). Intervals that overlap much say little."
    )
    longest = max(len(each.candidate.name) for each in shown) * _CHARACTER + 14

    def draw(width: float) -> Canvas:
        left, right = min(longest, 0.5 * width), width - 60
        bottom = _TOP + _ROW * len(shown)
        canvas = Canvas(width, bottom + _BOTTOM)
        low = min(each.interval[0] for each in shown)
        scale = Linear(1.0, left, right, max(0.0, low - 0.05), 3 if is_narrow(width) else 5)
        canvas.across(scale, _TOP - 8, bottom, [f"{100 * each:.0f} %" for each in scale.ticks()])
        for row, each in enumerate(shown):
            y = _TOP + _ROW * (row + 0.5)
            css = colour(WAYS.index(each.candidate.way))
            canvas.text(
                (left - 10, y + 4), each.candidate.name, "row", "end", 0, row, 9.5 if is_narrow(width) else None
            )
            canvas.line((scale(each.interval[0]), y), (scale(each.interval[1]), y), f"interval {css}", row)
            canvas.dot((scale(each.accuracy), y), 4.5, f"dot {css}", row)
            canvas.text((right + 10, y + 4), f"{each.accuracy:.1%}", "value", "start", 0, row)
        return canvas

    return Chart.drawn("accuracy", "Accuracy", words, draw)


def _trade_off(results: Sequence[Result]) -> Chart:
    words = (
        "Accuracy against the time of one image on this machine; a dot's area is the size of model.tflite. Up and to "
        "the left is better. Colours are ways of adapting: blue from scratch, brown a linear probe, green fine-tuned."
    )
    numbered = {each.candidate: row for row, each in enumerate(_sort(results))}

    def draw(width: float) -> Canvas:
        left, right, bottom = 52.0, width - 16, 300.0
        canvas = Canvas(width, bottom + _BOTTOM)
        low = min(each.accuracy for each in results)
        upwards = Linear(1.0, bottom, _TOP, max(0.0, min(low, 0.95) - 0.05))
        across = Log.around([each.milliseconds for each in results], left, right, 1.5)
        canvas.upwards(upwards, left, right, [f"{100 * each:.0f} %" for each in upwards.ticks()])
        canvas.across(across, _TOP, bottom, [f"{each:g} ms" for each in across.ticks()])
        largest = max(each.size for each in results)
        for each in results:
            at = (across(each.milliseconds), upwards(each.accuracy))
            radius = max(3.0, 16 * (each.size / largest) ** 0.5)
            told = f"{each.candidate.name}: {each.accuracy:.1%}, {each.milliseconds:.3g} ms, {each.size / 1e6:.2f} MB"
            canvas.dot(at, radius, f"bubble {colour(WAYS.index(each.candidate.way))}", numbered[each.candidate], told)
        return canvas

    return Chart.drawn("trade-off", "Accuracy against time", words, draw)
