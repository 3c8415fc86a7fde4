"""Whether an export writes a report, and how much of one."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from export.errors import UsageError

OFF, ON, FULL = "off", "on", "full"
KINDS = (ON, OFF, FULL)

PAGE = Path("assets.extra", "report", "index.html")
"""In a version's folder."""
NUMBERS = PAGE.with_name("report.json")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """`kind` is one of KINDS: `full` adds UMAP, which needs the package umap-learn."""

    kind: str = ON

    def __post_init__(self) -> None:
        """Raises UsageError, one line."""
        if self.kind not in KINDS:
            raise UsageError(f"--report {self.kind}: give one of {', '.join(KINDS)}")
        if self.kind == FULL and not _has_umap():
            raise UsageError(
                "--report full needs the package umap-learn: pip install 'image-model-server[report]', or --report on"
            )


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group(
        "what is written about it", "Example: %(prog)s --model lenet5 --report full"
    ).add_argument(
        "--report",
        choices=KINDS,
        default=ON,
        metavar="|".join(KINDS),
        help="write a page about how well the model does, beside it: assets.extra/report/index.html. full also draws "
        "its features by UMAP, which takes half a minute more (default: on)",
    )


def _has_umap() -> bool:
    from importlib.util import find_spec

    return find_spec("umap") is not None
