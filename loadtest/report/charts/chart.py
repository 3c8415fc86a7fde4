"""A chart: what it shows in words, and one drawing for a desktop and one for a phone."""

from collections.abc import Callable
from dataclasses import dataclass

from loadtest.report.charts.canvas import Canvas

WIDE, NARROW = 960.0, 358.0
"""Widths in pixels: of a desktop's column, and of a phone's."""


@dataclass(frozen=True)
class Chart:
    key: str
    """Its id in the page."""
    title: str
    words: str
    """How to read it, and what is left out."""
    wide: Canvas
    narrow: Canvas

    @classmethod
    def drawn(cls, key: str, title: str, words: str, draw: Callable[[float], Canvas]) -> "Chart":
        """`draw` makes it at a width."""
        return cls(key, title, words, draw(WIDE), draw(NARROW))


def is_narrow(width: float) -> bool:
    return width < WIDE
