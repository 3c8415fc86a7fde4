"""The two pictures of docs/zoo.md: a timeline of families, and accuracy against cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.catalogue.families import FAMILIES, LANES
from drawing.canvas import Canvas, Pixels, colour
from drawing.chart import WIDE
from drawing.scales import Linear, Log
from export.architectures.architecture import Architecture
from export.architectures.costs import COSTS
from loadtest.report.charts.labels import CHARACTER, Box, Label, scatter

_YEARS, _HEAD = 46.0, 30.0
NAME, MEMBERS = 11.5, 10.0
"""Heights of the timeline's letters."""

_BOX, _GAP, _ROW = 34.0, 12.0, 20.0
_COLOURS = dict(zip(LANES, (0, 1, 2, 3, 5, 7), strict=True))  # those that are easiest to tell apart
_LEFT, _TOP, _BOTTOM, _HEIGHT, _DOT = 52.0, 10.0, 44.0, 860.0, 4.0


@dataclass(frozen=True)
class _Entry:
    family: str
    members: str
    box: Box


def draw_timeline(rows: Sequence[Architecture]) -> Canvas:
    """Years downwards, lines of thought across; a line leads from each family to those that build on it."""
    lanes = _list_lanes(rows)
    entries, years, height = _place_families(rows, lanes)
    canvas = Canvas(WIDE, height)
    for number, lane in enumerate(lanes):
        left, right = _place_lane(number, lanes)
        canvas.text(((left + right) / 2, 16), lane, f"own {_colour(lane)}", "middle")
    for year, top in years.items():
        canvas.line((0, top), (WIDE, top), "grid")
        canvas.text((0, top + 24), str(year), "axis")
    boxes = [entry.box for entry in entries.values()]
    for entry in entries.values():
        for parent in FAMILIES[entry.family].parents:
            if parent in entries:
                way = _find_way(entries[parent].box, entry.box, boxes)
                canvas.curve(way, f"leader {_colour(FAMILIES[parent].lane)}")
                canvas.dot(way[-1], 2.4, f"dot {_colour(FAMILIES[parent].lane)}")
    for entry in entries.values():
        box, css = entry.box, _colour(FAMILIES[entry.family].lane)
        middle = (box.left + box.right) / 2
        canvas.bar((box.left, box.top), (box.right - box.left, box.bottom - box.top), f"hollow {css}")
        canvas.text((middle, box.top + (14 if entry.members else 21)), entry.family, "name", "middle", size=NAME)
        if entry.members:
            canvas.text((middle, box.top + 27), entry.members, "name", "middle", size=MEMBERS)
    return canvas


def draw_accuracy(rows: Sequence[Architecture]) -> Canvas:
    """Published top-1 against multiply-adds, the members of a family joined."""
    known = [row for row in rows if row.top1 is not None]
    canvas = Canvas(WIDE, _HEIGHT + _BOTTOM)
    area = Box(_LEFT, _TOP, WIDE - 8, _HEIGHT)
    across = Log.around([COSTS[row.name].macs / 1e9 for row in known], area.left, area.right, 1.5)
    shares = [row.top1 or 0.0 for row in known]
    upwards = Linear(max(shares) + 0.02, area.bottom, area.top, min(shares) - 0.02, 8)
    canvas.across(across, area.top, area.bottom, [f"{each:g}" for each in across.ticks()])
    canvas.upwards(upwards, area.left, area.right, [f"{100 * each:.0f} %" for each in upwards.ticks()])
    middle = (area.left + area.right) / 2
    canvas.text((middle, area.bottom + 34), "billions of multiply-adds for an image", "axis", "middle")
    labels = []
    for family, group in groupby(sorted(known, key=lambda row: row.family), key=lambda row: row.family):
        css = _colour(FAMILIES[family].lane)
        members = sorted(group, key=lambda row: COSTS[row.name].macs)
        places = [(across(COSTS[row.name].macs / 1e9), upwards(row.top1 or 0.0)) for row in members]
        if len(places) > 1:
            canvas.curve(places, f"leader {css}")
        for row, at in zip(members, places, strict=True):
            title = f"{row.name}: {COSTS[row.name].macs / 1e9:.2f} billion, top-1 {100 * (row.top1 or 0):.1f} %"
            canvas.dot(at, _DOT, f"dot {css}", title=title)
            labels.append(Label(at, row.name, _COLOURS[FAMILIES[family].lane]))
    scatter(canvas, labels, [_DOT] * len(labels), area, 10.5)
    for number, lane in enumerate(_list_lanes(known)):
        y = area.bottom - 100 + 16 * number
        canvas.dot((area.right - 90, y - 4), _DOT, f"dot {_colour(lane)}")
        canvas.text((area.right - 80, y), lane, "name")
    return canvas


def _list_lanes(rows: Sequence[Architecture]) -> list[str]:
    lanes = {FAMILIES[row.family].lane for row in rows}
    return [lane for lane in LANES if lane in lanes]


def _place_families(
    rows: Sequence[Architecture], lanes: Sequence[str]
) -> tuple[Mapping[str, _Entry], Mapping[int, float], float]:
    """By family, the top of each year's band, and the height of all."""
    members = {family: [row for row in rows if row.family == family] for family in FAMILIES}
    entries, years, top = {}, {}, _HEAD
    for year in sorted({row.year for row in rows}):
        began = [family for family, found in members.items() if found and found[0].year == year]
        if not began:
            continue
        years[year] = top
        filled = dict.fromkeys(lanes, top + _GAP)
        for family in began:
            lane = FAMILIES[family].lane
            left, right = _place_lane(lanes.index(lane), lanes)
            box = Box(left, filled[lane], right, filled[lane] + _BOX)
            entries[family] = _Entry(family, _name_members(members[family], right - left), box)
            filled[lane] = box.bottom + _ROW
        top = max(filled.values()) - _ROW + _GAP
    return entries, years, top


def _name_members(rows: Sequence[Architecture], width: float) -> str:
    """The parts of names that differ, such as "18 34 50". A long list keeps its first and last; one name gives ""."""
    if len(rows) == 1:
        return ""
    ends = [re.sub(r"^[a-z]+_?(v\d_)?", "", row.name).removesuffix("_v2").removesuffix("_32x4d") for row in rows]
    if all(end.isdigit() for end in ends):
        ends.sort(key=int)
    words = " ".join(ends)
    return words if len(words) * CHARACTER * MEMBERS < width - 8 else f"{ends[0]} to {ends[-1]}"


def _find_way(parent: Box, child: Box, boxes: Sequence[Box]) -> list[Pixels]:
    """Straight down to the next of a lane, left of those between to one further down, across to another lane."""
    middle, end = (parent.top + parent.bottom) / 2, (child.top + child.bottom) / 2
    if parent.left == child.left:
        between = any(box.left == parent.left and parent.bottom < box.top < child.top - 1 for box in boxes)
        x = (parent.left + parent.right) / 2
        if not between:
            return [(x, parent.bottom), (x, child.top)]
        left = parent.left - 8
        return [(parent.left, middle), (left, middle), (left, end), (child.left, end)]
    rightwards = parent.left < child.left
    x1, x2 = (parent.right, child.left) if rightwards else (parent.left, child.right)
    steps = [step / 20 for step in range(21)]
    return [(x1 + (x2 - x1) * t, middle + (end - middle) * (3 * t**2 - 2 * t**3)) for t in steps]


def _place_lane(number: int, lanes: Sequence[str]) -> tuple[float, float]:
    """Left and right edge of its boxes."""
    width = (WIDE - _YEARS) / len(lanes)
    return _YEARS + width * number + _GAP, _YEARS + width * (number + 1) - _GAP


def _colour(lane: str) -> str:
    return colour(_COLOURS[lane])
