"""SVG, written by hand: shapes whose looks are classes, so that one drawing suits light, dark and paper."""

from collections.abc import Iterable, Sequence
from html import escape

from drawing.scales import Scale

Pixels = tuple[float, float]
COLOURS = 8
"""Classes c0 to c7 of `style.css`: Okabe and Ito's, which eyes of every kind tell apart."""


class Canvas:
    """One drawing of `width` by `height` pixels, the size of its text included.

    `subject` marks what belongs to one subject, such as an architecture or a class: the page brings all of it forward
    at once.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def line(self, start: Pixels, end: Pixels, css: str, subject: int | None = None) -> None:
        (x1, y1), (x2, y2) = start, end
        self._add("line", css, subject, "", x1=x1, y1=y1, x2=x2, y2=y2)

    def curve(self, points: Sequence[Pixels], css: str, subject: int | None = None, title: str = "") -> None:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._add("path", f"curve {css}", subject, title, d=path)

    def dot(self, at: Pixels, radius: float, css: str, subject: int | None = None, title: str = "") -> None:
        self._add("circle", css, subject, title, cx=at[0], cy=at[1], r=radius)

    def cross(self, at: Pixels, size: float, css: str, subject: int | None = None, title: str = "") -> None:
        (x, y), s = at, size
        path = f"M{x - s:.1f} {y - s:.1f}L{x + s:.1f} {y + s:.1f}M{x - s:.1f} {y + s:.1f}L{x + s:.1f} {y - s:.1f}"
        self._add("path", f"curve {css}", subject, title, d=path)

    def bar(self, at: Pixels, size: Pixels, css: str, subject: int | None = None, title: str = "") -> None:
        self._add("rect", css, subject, title, x=at[0], y=at[1], width=max(size[0], 0.0), height=size[1])

    def text(
        self,
        at: Pixels,
        words: str,
        css: str = "",
        anchor: str = "start",
        turn: float = 0,
        subject: int | None = None,
        size: float | None = None,
    ) -> None:
        """Its baseline starts, ends or has its middle `at`, turned by so many degrees."""
        x, y = at
        extra: dict[str, object] = {"x": x, "y": y}
        if anchor != "start":
            extra["text-anchor"] = anchor
        if turn:
            extra["transform"] = f"rotate({turn:g} {x:.1f} {y:.1f})"
        if size:
            extra["font-size"] = size
        self._parts.append(f"<text{_attributes(css, subject, extra)}>{escape(words)}</text>")

    def across(self, scale: Scale, top: float, bottom: float, labels: Iterable[str]) -> None:
        """Grid lines and labels of the horizontal axis."""
        for value, label in zip(scale.ticks(), labels, strict=True):
            x = scale(value)
            self.line((x, top), (x, bottom), "grid")
            self.text((x, bottom + 15), label, "tick", "middle")

    def upwards(self, scale: Scale, left: float, right: float, labels: Iterable[str]) -> None:
        """Grid lines and labels of the vertical axis."""
        for value, label in zip(scale.ticks(), labels, strict=True):
            y = scale(value)
            self.line((left, y), (right, y), "grid")
            self.text((left - 6, y + 4), label, "tick", "end")

    def inside(self) -> str:
        """What it holds, without the element around it."""
        return "".join(self._parts)

    def svg(self, title: str) -> str:
        """As an element of a page; `title` is what a screen reader says."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'role="img" aria-label="{escape(title)}">{self.inside()}</svg>'
        )

    def _add(self, tag: str, css: str, subject: int | None, title: str, **attributes: object) -> None:
        inner = f"><title>{escape(title)}</title></{tag}>" if title else "/>"
        self._parts.append(f"<{tag}{_attributes(css, subject, attributes)}{inner}")


def colour(number: int) -> str:
    return f"c{number % COLOURS}"


def _attributes(css: str, subject: int | None, others: dict[str, object]) -> str:
    found: dict[str, object] = {}
    if css:
        found["class"] = css
    if subject is not None:
        found["data-s"] = subject
    return "".join(f' {name}="{_plain(value)}"' for name, value in (found | others).items())


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else escape(str(value))
