"""What an export says when it is done: where, how large, how good, and what to type next."""

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from export.architectures import ARCHITECTURES
from service.manifest import SAMPLES, SAVED_MODEL, TFLITE

if TYPE_CHECKING:  # a list of architectures needs nothing that trains them
    from export.pipeline import Published

_PORT = 8000


def show(published: "Sequence[Published]", repository: Path, default: Path) -> None:
    """Prints one block a model, then how to serve and ask, to stdout."""
    for each in published:
        print()
        _table(_facts(each))
    serve = "python -m service" + ("" if repository == default else f" --repository {quote(str(repository))}")
    last = published[-1]
    sample = min((last.folder / SAMPLES).iterdir())
    print(f"\nServe it:  {serve}")
    print(
        f"Ask it:    curl --data-binary @{quote(str(sample))} -H 'Content-Type: image/png' "
        f"http://localhost:{_PORT}/predict/{last.spec.name}"
    )
    sys.stdout.flush()


def architectures() -> None:
    """Prints the registry as a table."""
    head = ("name", "family", "year", "input", "parameters", "ImageNet weights")
    rows = [
        (
            row.name, row.family, str(row.year), f"{row.input_size}x{row.input_size}x{row.channels}",
            f"{row.parameters:,}", "yes" if row.pretrained else "no",
        )
        for row in ARCHITECTURES.values()
    ]  # fmt: skip
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    for cells in (head, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(line.rstrip())


def _facts(published: "Published") -> list[tuple[str, str]]:
    score, size, sizes = published.score, published.spec.image_size, published.sizes
    return [
        (published.spec.name, str(published.folder)),
        ("input", f"{size}x{size} RGB, any JPEG or PNG is resized to it"),
        ("parameters", f"{published.parameters:,}"),
        ("files", f"{SAVED_MODEL} {_size(sizes[str(SAVED_MODEL)])}, {TFLITE} {_size(sizes[str(TFLITE)])}"),
        (
            "accuracy",
            f"{score.accuracy:.4f} on {published.held_out:,} held-out images; "
            f"worst class {score.worst!r}, {score.by_class[score.worst]:.4f}",
        ),
        ("parity", f"differs from the trained network by at most {published.parity.worst:.1e}"),
        ("took", f"{published.seconds:.0f} s"),
    ]


def _table(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name.ljust(width)}  {text}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
