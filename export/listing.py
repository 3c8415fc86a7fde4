"""`python -m export --list`: the networks that there are, what each costs and how good it was published to be."""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from shutil import get_terminal_size
from types import MappingProxyType
from typing import Any

from export.architectures import ARCHITECTURES
from export.architectures.architecture import Architecture
from export.architectures.costs import COSTS
from export.architectures.measurements import Measurements, read_measurements
from export.architectures.publishers import PUBLISHERS
from export.clip.network import NETWORKS
from export.errors import UsageError

ROWS: Mapping[str, Architecture] = MappingProxyType(
    {**ARCHITECTURES, **{name: network.describe() for name, network in NETWORKS.items()}}
)
"""Every network that `--model` knows: classifiers, and those that compare images with texts."""

_HEAD = ("name", "family", "year", "Mpar", "depth", "GMAC", "px", "top1", "top5", "ms", "MB", "weights licence")
_LEFT = frozenset({0, 1, len(_HEAD) - 1})
_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6}


@dataclass(frozen=True, slots=True)
class Listing:
    """`family` is "" for all of them; `max_parameters` is None for any number."""

    family: str = ""
    max_parameters: int | None = None
    as_json: bool = False


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("--list", "What is shown.\nExample: %(prog)s --list --family resnet --json")
    group.add_argument("--json", action="store_true", help="everything about each network, as a JSON array")
    group.add_argument("--family", metavar="NAME", help="only networks of this family, such as resnet")
    group.add_argument(
        "--max-parameters", metavar="N", help="only networks with at most so many parameters, such as 5000000 or 5M"
    )


def read(args: argparse.Namespace) -> Listing | None:
    """None where no list is asked for. Raises UsageError."""
    if not args.list:
        for flag, value in {
            "--json": args.json,
            "--family": args.family,
            "--max-parameters": args.max_parameters,
        }.items():
            if value:
                raise UsageError(f"{flag} goes with --list")
        return None
    family = "" if args.family is None else _find_family(args.family)
    most = None if args.max_parameters is None else _parse_count(args.max_parameters)
    return Listing(family, most, args.json)


def show(listing: Listing) -> None:
    """Prints it, a network a line of at most 100 characters, or as JSON. Raises UsageError where nothing is left."""
    rows = [
        row
        for row in ROWS.values()
        if listing.family in ("", row.family)
        and (listing.max_parameters is None or row.parameters <= listing.max_parameters)
    ]
    measured = read_measurements()
    if listing.as_json:
        print(json.dumps([describe(row, measured) for row in rows], indent=1))
        return
    if not rows:
        among = f" of {listing.family}" if listing.family else ""
        raise UsageError(f"no network{among} has {listing.max_parameters:,} parameters or fewer")
    show_table(_HEAD, [_format(row, measured) for row in rows], _LEFT)


def describe(row: Architecture, measured: Measurements) -> dict[str, Any]:
    """What is known of a network without building it, as JSON has it; shares from 0 to 1, None where unknown."""
    cost, found = COSTS[row.name], measured.networks.get(row.name)
    return {
        "name": row.name,
        "family": row.family,
        "year": row.year,
        "parameters": row.parameters,
        "depth": cost.depth,
        "gmacs": round(cost.macs / 1e9, 4),
        "input": [row.input_size, row.input_size, row.channels],
        "smallest_input": row.smallest_size,
        "classes": row.classes,
        "top1": row.top1,
        "top5": row.top5,
        "measured_by": row.measured_by or None,
        "measured_at": PUBLISHERS.get(row.measured_by),
        "weights": row.weights_by or None,
        "licence_of_weights": row.licence or None,
        "source": row.source,
        "measured": None if found is None else {"machine": measured.machine, **asdict(found)},
    }


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: frozenset[int]) -> list[str]:
    """Lines of a table whose columns are as wide as they have to be; those in `left` start at the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        " ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in (head, *rows)
    ]


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: frozenset[int]) -> None:
    """Prints `format_table`'s lines; on a terminal a table with a rule below its head, and its first column bold."""
    lines = format_table(head, rows, left)
    if not sys.stdout.isatty():
        print("\n".join(lines))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, name in enumerate(head):
        side = "left" if place in left else "right"
        table.add_column(name, justify=side, no_wrap=True, style="bold" if place == 0 else "")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(Text, row))
    # A narrow terminal breaks long lines: no name and no number is cut.
    width = max(map(len, lines)) + 3 * len(head)
    Console(width=max(width, get_terminal_size().columns), highlight=False).print(table)


def format_count(count: int) -> str:
    """In millions; in thousands below one."""
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}K"


def format_short(value: float) -> str:
    """Three digits, two below one: "<.01", "0.06", "4.69", "62.4", "138", "1401"."""
    if value < 0.005:
        return "<.01"
    for digits, least in ((0, 99.95), (1, 9.995)):
        if value >= least:
            return f"{value:.{digits}f}"
    return f"{value:.2f}"


def _format(row: Architecture, measured: Measurements) -> tuple[str, ...]:
    cost, found = COSTS[row.name], measured.networks.get(row.name)
    latency = None if found is None else found.latency
    return (
        row.name,
        row.family,
        str(row.year),
        format_short(row.parameters / 1e6),
        str(cost.depth),
        format_short(cost.macs / 1e9),
        str(row.input_size),
        *("-" if share is None else f"{100 * share:.1f}" for share in (row.top1, row.top5)),
        "-" if latency is None else format_short(latency.litert_ms[1]),
        "-" if found is None else format_short(found.litert_bytes / 1e6),
        f"{row.weights_by} {row.licence.removesuffix('-Clause').removesuffix('.0')}".strip() or "-",
    )


def _find_family(asked: str) -> str:
    """The family that is spelled so, whatever its capitals and spaces."""
    families = {_reduce(row.family): row.family for row in ROWS.values()}
    found = families.get(_reduce(asked))
    if found is None:
        close = difflib.get_close_matches(_reduce(asked), families, n=3)
        meant = " or ".join(repr(families[each]) for each in close) or ", ".join(families.values())
        raise UsageError(f"Invalid --family: expected {meant}, got {asked!r}")
    return found


def _reduce(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _parse_count(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KM]?)", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise UsageError(f"Invalid --max-parameters: expected a positive number such as 5000000 or 5M, got {text!r}")
    return round(float(match[1]) * _SUFFIXES[match[2].upper()])
