"""An explanation as one picture: the photo, heat over it, the likeliest labels, the first filters and their finds."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np

from export.explain.filters import Filters

PANEL = 460
"""Pixels of the photo's longer side."""

_MOST_FILTERS, _COLUMNS = 32, 8
_GAP, _TEXT, _BAR = 16, 15, 22
_PAPER, _INK, _SOFT, _BLUE = (255, 255, 255), (22, 25, 29), (91, 100, 112), (0, 114, 178)
_STOPS = (0.0, 0.35, 0.65, 1.0)
_COLOURS = ((20, 20, 60), (150, 30, 110), (240, 110, 40), (255, 235, 120))
"""Dark to light, so that gray paper tells them apart too."""
_CLEAREST, _DENSEST = 0.25, 0.7  # how much of the heat's colour covers the photo where there is none, and the most


def draw(
    photo: Any,
    heat: Any,
    explained: str,
    labels: Sequence[tuple[str, float]],
    filters: Filters,
    reverse_channels: bool,
) -> Any:
    """A Pillow image. `photo` uint8 [H, W, 3], `heat` float32 [h, w] from 0 to 1 for the class `explained`, `labels`
    with their probabilities, the likeliest first. `reverse_channels` of kernels that look at BGR.
    """
    from PIL import Image, ImageDraw, ImageFont

    across = 2 * PANEL + 3 * _GAP
    shown = min(_MOST_FILTERS, len(filters.kernels))
    cell = (across - _GAP) // _COLUMNS - _GAP
    bars_at = _GAP + _TEXT + 8 + photo.shape[0] + _GAP
    filters_at = bars_at + len(labels) * _BAR + _GAP
    rows_at = filters_at + _TEXT + 10
    sheet = Image.new("RGB", (across, rows_at + ceil(shown / _COLUMNS) * (cell // 2 + _GAP)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)

    def write(at: tuple[int, int], words: str, colour: tuple[int, int, int], room: int) -> None:
        pen.text(at, _shorten(words, lambda text: pen.textlength(text, font), room), colour, font)

    right = PANEL + 2 * _GAP
    write((_GAP, _GAP), "the photo", _SOFT, PANEL)
    write((right, _GAP), f"what speaks for {explained} (Grad-CAM)", _SOFT, PANEL)
    sheet.paste(Image.fromarray(photo), (_GAP, _GAP + _TEXT + 8))
    sheet.paste(Image.fromarray(cover(photo, heat)), (right, _GAP + _TEXT + 8))
    for place, (label, probability) in enumerate(labels):
        top = bars_at + place * _BAR
        write((_GAP, top), label, _INK, PANEL - 70)
        pen.text((_GAP + PANEL, top), f"{100 * probability:.1f} %", _INK, font, anchor="ra")
        pen.rectangle((right, top + 2, right + max(1, round(PANEL * probability)), top + _TEXT), _BLUE)
    words = f"{shown} of {len(filters.kernels)}" if shown < len(filters.kernels) else str(shown)
    title = f"{filters.layer}: {words} filters of the first layer, and what each finds in the photo"
    write((_GAP, filters_at), title, _SOFT, across - 2 * _GAP)
    side = cell // 2
    for place in range(shown):
        left, top = _GAP + place % _COLUMNS * (cell + _GAP), rows_at + place // _COLUMNS * (side + _GAP)
        kernel = Image.fromarray(_show_kernel(filters.kernels[place], reverse_channels))
        response = Image.fromarray(_show_response(filters.responses[place]))
        sheet.paste(kernel.resize((side, side), Image.Resampling.NEAREST), (left, top))
        sheet.paste(response.resize((side, side), Image.Resampling.BILINEAR), (left + side + 1, top))
    return sheet


def cover(photo: Any, heat: Any) -> Any:
    """uint8 [H, W, 3]: the heat's colours over the gray photo, the denser the hotter."""
    from PIL import Image

    size = photo.shape[1], photo.shape[0]
    spread = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    spread = np.clip(spread, 0, 1)[..., np.newaxis]
    coloured = np.concatenate([np.interp(spread, _STOPS, channel) for channel in zip(*_COLOURS, strict=True)], -1)
    gray = photo.mean(axis=-1, keepdims=True)
    share = _CLEAREST + (_DENSEST - _CLEAREST) * spread
    return np.rint(gray * (1 - share) + coloured * share).astype(np.uint8)


def _show_kernel(kernel: Any, reverse_channels: bool) -> Any:
    """uint8 [h, w, 3]: zero is middle gray, and the largest weight is as far from it as can be."""
    shown = kernel if kernel.shape[-1] == 3 else kernel.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    if reverse_channels and kernel.shape[-1] == 3:
        shown = shown[..., ::-1]
    largest = max(float(np.abs(shown).max()), 1e-12)
    return np.rint(127.5 + 127.5 * shown / largest).astype(np.uint8)


def _show_response(response: Any) -> Any:
    """uint8 [h, w], the least black and the most white."""
    low, high = float(response.min()), float(response.max())
    return np.rint(255 * (response - low) / max(high - low, 1e-12)).astype(np.uint8)


def _shorten(words: str, measure: Callable[[str], float], room: float) -> str:
    if measure(words) <= room:
        return words
    while words and measure(words + "...") > room:
        words = words[:-1]
    return words + "..."
