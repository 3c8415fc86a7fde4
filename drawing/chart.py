"""A chart: what it shows in words, and one drawing for a desktop and one for a phone."""

from collections.abc import Callable
from dataclasses import dataclass

from drawing.canvas import Canvas

WIDE, NARROW = 960.0, 358.0
"""Widths in pixels: of a desktop's column, and of a phone's."""
_A_NAME, _AXIS = 11.5, 70.0


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
    def drawn(cls, key: str, title: str, words: str, draw: Callable[[float], Canvas], names: int = 0) -> "Chart":
        """`draw` makes it at a width. With so many `names` side by side that a phone has no room for them, its drawing
        is wider, and scrolls.
        """
        return cls(key, title, words, draw(WIDE), draw(max(NARROW, _A_NAME * names + _AXIS)))


def is_narrow(width: float) -> bool:
    return width < WIDE
