"""Names beside what they name, without covering each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import cos, hypot, pi, sin

from drawing.canvas import Canvas, Pixels, colour

CHARACTER = 0.58
"""Mean width of a character, in heights of its font."""
_TURN = -60
_LEADER = 20.0
_SIZE = 11.5


@dataclass(frozen=True)
class Label:
    """`words` for what is drawn `at`."""

    at: Pixels
    words: str
    subject: int


def band_height(words: Sequence[str]) -> float:
    """Pixels that `fan` needs above a plot."""
    return max((len(each) for each in words), default=0) * CHARACTER * _SIZE * 0.87 + _LEADER + 8


def band_overhang(words: Sequence[str]) -> float:
    """Pixels by which the rightmost may stand out to the right of where it is pinned."""
    return max((len(each) for each in words), default=0) * CHARACTER * _SIZE * 0.5 + 4


def fan(canvas: Canvas, labels: Sequence[Label], left: float, right: float, top: float) -> None:
    """Slanted names above a plot whose upper edge is `top`, in the order of what they name, a hairline to each."""
    ordered = sorted(labels, key=lambda label: label.at[0])
    gap = min(15.0, (right - left) / max(1, len(ordered) - 1))
    places = _spread([label.at[0] for label in ordered], gap, left, right)
    foot = top - _LEADER
    for label, x in zip(ordered, places, strict=True):
        corners = [label.at, (label.at[0], top), (x, foot)]
        canvas.curve(corners, f"leader {colour(label.subject)}", label.subject)
        size = min(_SIZE, gap * 0.88)
        canvas.text(
            (x + 3, foot - 3), label.words, f"name {colour(label.subject)}", "start", _TURN, label.subject, size
        )


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending places at least `gap` apart, as near as can be to `wanted`: isotonic regression, clipped."""
    blocks: list[tuple[float, int]] = []  # mean and length of each run of neighbours that touch
    for index, place in enumerate(wanted):
        mean, length = place - index * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, length = (before * count + mean * length) / (count + length), count + length
        blocks.append((mean, length))
    flat = [mean for mean, length in blocks for _ in range(length)]
    limit = high - gap * (len(wanted) - 1)
    return [min(max(mean, low), limit) + index * gap for index, mean in enumerate(flat)]


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0

    def outside(self, other: "Box") -> float:
        """How far it stands out of `other`, in pixels."""
        return (
            max(0.0, other.left - self.left)
            + max(0.0, self.right - other.right)
            + max(0.0, other.top - self.top)
            + max(0.0, self.bottom - other.bottom)
        )


def scatter(canvas: Canvas, labels: Sequence[Label], radii: Sequence[float], area: Box, size: float = 11.5) -> None:
    """A name beside each bubble: the nearest of many places that covers no bubble and no other name."""
    bubbles = [Box(x - r, y - r, x + r, y + r) for (x, y), r in zip((label.at for label in labels), radii, strict=True)]
    taken: list[Box] = []
    for label, radius in zip(labels, radii, strict=True):
        wide, high = len(label.words) * CHARACTER * size, size
        places = [_place(label.at, radius, wide, high, *way) for way in product(range(16), (3, 12, 24, 40, 60, 85))]
        costs = [_cost(place, label.at, bubbles, taken, area) for place in places]
        box = places[costs.index(min(costs))]
        taken.append(box)
        end = (min(max(label.at[0], box.left), box.right), min(max(label.at[1], box.top + 2), box.bottom))
        if abs(end[0] - label.at[0]) + abs(end[1] - label.at[1]) > radius + 8:
            canvas.line(_edge(label.at, radius, end), end, f"leader {colour(label.subject)}", label.subject)
        canvas.text((box.left, box.bottom - 2), label.words, "name halo", "start", 0, label.subject, size)


def _place(at: Pixels, radius: float, wide: float, high: float, direction: int, distance: float) -> Box:
    angle = 2 * pi * direction / 16
    x = at[0] + (radius + distance) * cos(angle)
    y = at[1] + (radius + distance) * sin(angle)
    left = x - wide * (1 - cos(angle)) / 2
    top = y - high * (1 - sin(angle)) / 2
    return Box(left, top, left + wide, top + high)


def _edge(centre: Pixels, radius: float, towards: Pixels) -> Pixels:
    """Where the line to `towards` leaves the bubble."""
    across, down = towards[0] - centre[0], towards[1] - centre[1]
    share = min(1.0, radius / max(hypot(across, down), 1e-9))
    return centre[0] + share * across, centre[1] + share * down


def _cost(box: Box, at: Pixels, bubbles: Sequence[Box], taken: Sequence[Box], area: Box) -> float:
    covered = sum(box.overlap(each) for each in taken) * 3 + sum(box.overlap(each) for each in bubbles)
    far = abs((box.left + box.right) / 2 - at[0]) / 4 + abs((box.top + box.bottom) / 2 - at[1])
    return covered * 10 + box.outside(area) * 1000 + far
