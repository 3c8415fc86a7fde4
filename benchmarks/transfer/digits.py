"""Digits to transfer between: as scikit-learn has them, or at random places, sizes and tilts on photographs."""

import io
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.transfer import photographs
from export.data import sources
from export.data.partition import Partition
from export.data.sources import Source

SEEN, NEW = range(5), range(5, 10)

CANVAS = 32
_SIDES = (16, 24)
"""Of a digit that is placed on a photograph, in pixels."""
_TILT = 20.0
"""In degrees, to either side."""
_DARKER = 0.6
"""A photograph's levels behind a digit, whose ink is white."""


def draw_seen(placed: int, seed: int) -> tuple[Source, Partition]:
    """All digits of SEEN: each as it is, or `placed` times on photographs. A tenth validates, another is held out."""
    source = _choose(SEEN)
    rows = np.random.default_rng(seed).permutation(len(source.classes))
    tenth = len(rows) // 10
    parts = [rows[2 * tenth :], rows[:tenth], rows[tenth : 2 * tenth]]
    if not placed:
        return source, Partition(*parts)
    count = len(rows)
    spread = [np.concatenate([part + time * count for time in range(placed)]) for part in parts]
    return _place(source, placed, seed), Partition(*spread)


def draw_new(images: int, choosing: int, placed: bool, seed: int) -> tuple[Source, Partition]:
    """So many `images` of each class of NEW to learn from, `choosing` of them to choose the best epoch by; all others
    are held out. Each is as it is or, if `placed`, once on a photograph.
    """
    source = _choose(NEW)
    generator = np.random.default_rng(seed)
    parts: list[list[int]] = [[], [], []]
    for label in range(len(source.labels)):
        rows = generator.permutation(np.flatnonzero(source.classes == label)).tolist()
        for part, some in zip(parts, (rows[choosing:images], rows[:choosing], rows[images:]), strict=True):
            part += some
    return _place(source, 1, seed) if placed else source, Partition(*(np.array(part, np.int64) for part in parts))


def _choose(classes: range) -> Source:
    whole = sources.digits()
    rows = np.flatnonzero(np.isin(whole.classes, classes))
    return replace(
        whole,
        labels=tuple(whole.labels[each] for each in classes),
        classes=whole.classes[rows] - classes.start,
        read=lambda index: whole.read(int(rows[index])),
        describe=lambda index: whole.describe(int(rows[index])),
    )


def _place(source: Source, times: int, seed: int) -> Source:
    """Every image of `source` so many times: image i + N * time is image i."""
    count = len(source.classes)
    draws = np.random.default_rng((seed, count)).random((count * times, 8))
    return replace(
        source,
        classes=np.tile(source.classes, times),
        read=lambda index: _draw_one(source.read(index % count), draws[index]),
        describe=lambda index: f"{source.describe(index % count)} on a photograph",
    )


def _draw_one(digit: bytes, draws: Any) -> bytes:
    """A PNG file of CANVAS pixels a side: `draws` are eight numbers from 0 to 1."""
    from PIL import Image

    pixels = photographs.open_gray(*photographs.FILES[int(draws[0] * len(photographs.FILES))])
    top, left = ((np.array(pixels.shape) - CANVAS) * draws[1:3]).astype(int)
    canvas = pixels[top : top + CANVAS, left : left + CANVAS] * _DARKER
    side = round(_SIDES[0] + (_SIDES[1] - _SIDES[0]) * draws[3])
    with Image.open(io.BytesIO(digit)) as opened:
        ink = opened.convert("L").rotate(_TILT * (2 * draws[4] - 1), Image.Resampling.BICUBIC).resize((side, side))
    row, column = ((CANVAS - side) * draws[5:7]).round().astype(int)
    covered = canvas[row : row + side, column : column + side]
    covered[:] = np.maximum(covered, np.asarray(ink))
    file = io.BytesIO()
    Image.fromarray(canvas.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
