"""The report's drawings: learning curves, confusion, calibration, maps of features."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from drawing.canvas import COLOURS, Canvas, colour
from drawing.chart import NARROW, WIDE, Chart, is_narrow
from drawing.scales import Linear
from export.report.calibration import Calibration
from export.report.classification import Classification
from export.report.measurements import Map
from service.plurals import format_items

MOST_CONFUSED = 20
"""Classes that a matrix has room for."""

_CHARACTER = 7.0  # pixels of text of 12
_STEPS = 5
_MOST_KEYS, _LONGEST_KEY = 40, 20
_CURVES = (("loss", "val_loss", "Loss"), ("accuracy", "val_accuracy", "Accuracy"))
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 48.0, 14.0, 26.0, 42.0, 34.0


def curves(phases: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Loss and accuracy of every epoch, phase after phase; None where nothing was trained."""
    lengths = [len(each["history"]["loss"]) for each in phases]
    if not sum(lengths):
        return None
    ends = list(accumulate(lengths))
    words = "Of the training images, and of the validation images that training never sees, after each epoch."
    if len(phases) > 1:
        words += " A vertical line is where one phase ends and the next begins."
    panels = [
        (title, _join(phases, train), _join(phases, validation))
        for train, validation, title in _CURVES
        if any(value is not None for value in _join(phases, train))
    ]

    def draw(width: float) -> Canvas:
        beside = not is_narrow(width)
        wide = (width - _GAP * (len(panels) - 1)) / len(panels) if beside else width
        high = 230.0 if beside else 190.0
        canvas = Canvas(width, (high + _TOP + _BOTTOM) * (1 if beside else len(panels)))
        for number, (title, trained, seen) in enumerate(panels):
            left = number * (wide + _GAP) if beside else 0.0
            top = 0.0 if beside else number * (high + _TOP + _BOTTOM)
            box = (left + _LEFT, top + _TOP, left + wide - _RIGHT, top + _TOP + high)
            _curve_panel(canvas, title, trained, seen, ends, box)
        return canvas

    return Chart.drawn("curves", "Learning curves", words, draw)


def _join(phases: Sequence[Mapping[str, Any]], key: str) -> list[float | None]:
    """Values by epoch, None where a phase has none."""
    return [value for each in phases for value in (each["history"].get(key) or [None] * len(each["history"]["loss"]))]


def _curve_panel(
    canvas: Canvas,
    title: str,
    trained: Sequence[float | None],
    seen: Sequence[float | None],
    ends: Sequence[int],
    box: tuple[float, float, float, float],
) -> None:
    left, top, right, bottom = box
    values = [each for each in (*trained, *seen) if each is not None and np.isfinite(each)]
    low = 0.0 if title == "Loss" else max(0.0, min(values) - 0.05)
    upwards = Linear(max(1e-6, max(values) * 1.05) if title == "Loss" else 1.0, bottom, top, min(low, 0.95))
    across = Linear(max(float(ends[-1]), 2.0), left, right, 1.0)
    canvas.upwards(upwards, left, right, [f"{each:.3g}" for each in upwards.ticks()])
    for value in _whole(across.ticks()):
        canvas.text((across(value), bottom + 15), f"{value:g}", "tick", "middle")
    for end in ends[:-1]:
        x = across(min(end + 0.5, across.high))
        canvas.line((x, top), (x, bottom), "zero")
    canvas.text(((left + right) / 2, bottom + 33), "epoch", "axis", "middle")
    key = left
    for css, name, line in (("c0", "training", trained), ("c1", "validation", seen)):
        points = [
            (across(epoch), upwards(value))
            for epoch, value in enumerate(line, 1)
            if value is not None and np.isfinite(value)
        ]
        if not points:
            continue
        if len(points) > 1:
            canvas.curve(points, f"line {css}")
        for x, y in points[:: max(1, len(points) // 40)]:
            canvas.dot((x, y), 2.4, f"dot {css}")
        canvas.text((key, top - 10), f"{title.lower()}, {name}", f"own {css}")
        key += _CHARACTER * len(f"{title.lower()}, {name}") + 14


def _whole(ticks: Sequence[float]) -> list[float]:
    return [each for each in ticks if each == int(each)]


def confusion(found: Classification) -> Chart:
    """Rows are what images show, columns what the model answers; of many classes those with the most mistakes."""
    labels = [each.label for each in found.classes]
    wrong = found.confusion.sum(axis=0) + found.confusion.sum(axis=1) - 2 * np.diag(found.confusion)
    shown = np.arange(len(labels))
    words = "How many images of each class (row) the model takes for which (column). The diagonal is right."
    if len(labels) > MOST_CONFUSED:
        shown = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CONFUSED])
        words += f" Of {len(labels)} classes, the {MOST_CONFUSED} with the most mistakes; the JSON file has all."
    counts = found.confusion[np.ix_(shown, shown)]
    names = [labels[each] for each in shown]
    totals = found.confusion.sum(axis=1)[shown]
    longest = max(map(len, names)) * _CHARACTER + 14

    def draw(width: float) -> Canvas:
        left = min(longest, 0.3 * width if is_narrow(width) else 260.0)
        fits = int((left - 10) / _CHARACTER)
        cell = max(24.0, min(44.0, (min(width, WIDE) - left - 4) / len(names)))
        head = min(max(map(len, names)), fits) * _CHARACTER * 0.71 + 26
        canvas = Canvas(width, head + cell * len(names) + 6)
        for place, name in enumerate(names):
            short = _shorten(name, fits)
            middle = (place + 0.5) * cell
            canvas.text((left - 8, head + middle + 4), short, "row", "end", 0, int(shown[place]))
            canvas.text((left + middle + 2, head - 8), short, "row", "start", -45, int(shown[place]))
        for row, column in np.ndindex(counts.shape):
            count = int(counts[row, column])
            share = count / max(1, int(totals[row]))
            step = 0 if not count else 1 + min(_STEPS - 1, int(_STEPS * share))
            x, y = left + column * cell, head + row * cell
            told = f"{names[row]}: {count} of {int(totals[row])} taken for {names[column]}" if count else ""
            canvas.bar((x + 0.5, y + 0.5), (cell - 1, cell - 1), f"heat h{step}", int(shown[row]), told)
            if count:
                at = (x + cell / 2, y + cell / 2 + 4)
                canvas.text(at, str(count), f"on-h{step} small", "middle", 0, int(shown[row]))
        return canvas

    narrow = max(NARROW, min(longest, 0.3 * NARROW) + 26 * len(names) + 30)
    return Chart("confusion", "Confusion", words, draw(WIDE), draw(narrow))


def calibration(answered: Calibration, scaled: Calibration | None, temperature: float | None) -> Chart:
    """Accuracy against confidence, as answered and with the temperature."""
    words = (
        "Images by how sure the model is of its answer, and the share of them that it gets right. On the diagonal a "
        "probability means what it says; below it the model is too sure. A dot's area is the number of images."
    )
    lines = [("as answered", "c0", answered)]
    if scaled is not None:
        lines.append((f"with temperature {temperature:.2f}", "c1", scaled))

    def draw(width: float) -> Canvas:
        side = min(width - _LEFT - 14, 400.0)
        top, right = 30.0, _LEFT + side
        canvas = Canvas(width, top + side + _BOTTOM)
        across, upwards = Linear(1.0, _LEFT, right), Linear(1.0, top + side, top)
        canvas.across(across, top, top + side, [f"{each:.1f}" for each in across.ticks()])
        canvas.upwards(upwards, _LEFT, right, [f"{100 * each:.0f} %" for each in upwards.ticks()])
        canvas.text(((_LEFT + right) / 2, top + side + 33), "probability of the answer", "axis", "middle")
        canvas.line((across(0), upwards(0)), (across(1), upwards(1)), "zero")
        most = max(each.images for _, _, one in lines for each in one.bins)
        key = _LEFT
        for name, css, one in lines:
            points = [(across(each.confidence), upwards(each.accuracy)) for each in one.bins]
            if len(points) > 1:
                canvas.curve(points, f"line {css}")
            for point, each in zip(points, one.bins, strict=True):
                told = (
                    f"{name}: {format_items(each.images, 'image')}, {each.confidence:.2f} sure, "
                    f"{each.accuracy:.2f} right"
                )
                canvas.dot(point, 2.5 + 8 * (each.images / most) ** 0.5, f"bubble {css}", None, told)
            canvas.text((key, 14), name, f"own {css}")
            key += _CHARACTER * len(name) + 18
        return canvas

    return Chart.drawn("calibration", "Calibration", words, draw)


def maps(found: Sequence[Map], classes: Any, labels: Sequence[str], before: str) -> Chart | None:
    """What the network makes of held-out images ahead of its last layer, one panel a method; `before` names the network
    ahead of training, and does not appear where training changed no feature. None without maps.
    """
    if not found:
        return None
    methods = list(dict.fromkeys(each.method for each in found))
    rows = list(dict.fromkeys(each.adapted for each in found))
    present = [int(each) for each in np.unique(classes)]
    words = (
        f"{format_items(len(classes), 'held-out image')}, one mark each: what the network makes of them "
        "ahead of its last layer, on a "
        "plane. Classes that lie apart are easy to tell apart. Point at a class to bring it forward. PCA keeps "
        "distances; t-SNE and UMAP keep neighbours together, and their distances between groups say little."
    )

    def draw(width: float) -> Canvas:
        # A phone has the methods one below the other, before and after side by side.
        cells = [(row, column) for row in range(len(rows)) for column in range(len(methods))]
        across = len(rows) if is_narrow(width) else len(methods)
        side = min((width - 14 * (across - 1)) / across, 320.0)
        key, top = _legend(present, labels, width)
        down = len(methods) if is_narrow(width) else len(rows)
        canvas = Canvas(width, top + down * (side + 34))
        for number, x, y in key:
            _mark(canvas, (x + 5, y - 4), 3.6, number)
            canvas.text((x + 14, y), _shorten(labels[number], _LONGEST_KEY), "row", "start", 0, number)
        for row, column in cells:
            x, y = (row, column) if is_narrow(width) else (column, row)
            corner = (x * (side + 14), top + y * (side + 34) + 22)
            title = methods[column]
            if len(rows) > 1:
                title += ", trained" if rows[row] else f", {before}"
            canvas.text((corner[0], corner[1] - 6), title, "name")
            canvas.bar(corner, (side, side), "panel")
            panel = next(each for each in found if each.method == methods[column] and each.adapted == rows[row])
            for place, number in zip(panel.places, classes, strict=True):
                at = (corner[0] + 8 + (side - 16) * place[0], corner[1] + 8 + (side - 16) * (1 - place[1]))
                _mark(canvas, at, 2.6, int(number))
        return canvas

    return Chart.drawn("features", "Features of the held-out images", words, draw)


def _legend(
    present: Sequence[int], labels: Sequence[str], width: float
) -> tuple[list[tuple[int, float, float]], float]:
    """(class, x, y) of the key of each class, as many as are of use, and where the panels begin."""
    x, y = 0.0, 14.0
    keys = []
    for number in present[:_MOST_KEYS]:
        wide = _CHARACTER * len(_shorten(labels[number], _LONGEST_KEY)) + 28
        if x + wide > width:
            x, y = 0.0, y + 18
        keys.append((number, x, y))
        x += wide
    return keys, y + 8


def _shorten(label: str, most: int) -> str:
    """At most so many characters: what is left out is in the middle, since names often differ at their ends."""
    return label if len(label) <= most else f"{label[: most - most // 2 - 1]}…{label[len(label) - most // 2 :]}"


def _mark(canvas: Canvas, at: tuple[float, float], size: float, number: int) -> None:
    """A colour and a shape a class: as many shapes as colours run out."""
    kind = number // COLOURS % 3
    if kind == 2:
        canvas.cross(at, size * 0.9, f"line {colour(number)}", number)
    else:
        canvas.dot(at, size, f"{'dot' if kind == 0 else 'hollow'} {colour(number)}", number)
