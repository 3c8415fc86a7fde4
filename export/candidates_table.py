"""What people read about an export: the table of candidates, as text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a list of architectures needs nothing that measures
    from export.quantize.candidates import Candidate, Choice

_QUALITY = ("size", "accuracy", "agrees", "worst class", "images", "")


def candidates(choice: "Choice") -> str:
    """A table of what was measured, the published candidate marked by an arrow, and below it what had no file.

    Milliseconds are of one image, in batches of each size. What nobody could measure has no column: accuracy, where
    nobody labelled the images.
    """
    whole = choice.candidates[0].size
    batches = [f"ms of {size}" for size in choice.candidates[0].milliseconds]
    rows = [("", "candidate", *batches, *_QUALITY), *(_row(choice, each, whole) for each in choice.rows)]
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {"-"}]
    last = len(columns) - 1
    aligned = [
        [cell.ljust(width) if place in (0, 1, last) else cell.rjust(width) for cell in column]
        for place, column in enumerate(columns)
        for width in [max(map(len, column))]
    ]
    lines = ["  ".join(row).rstrip() for row in zip(*aligned, strict=True)]
    lines += [f"not built: {name}: {why}" for name, why in choice.failed.items()]
    return "\n".join(lines)


def _row(choice: "Choice", candidate: "Candidate", whole: int) -> tuple[str, ...]:
    quality = candidate.quality
    examined: tuple[str, ...] = ("-", "-", "-", "0")
    if quality is not None:
        shares = (quality.accuracy, quality.agreement, quality.by_class.get(quality.worst))
        examined = (*("-" if each is None else f"{each:.4f}" for each in shares), str(quality.images))
    return (
        "->" if candidate is choice.chosen else "",
        candidate.name,
        *(f"{value:.3g}" for value in candidate.milliseconds.values()),
        f"{candidate.size / whole:.0%}",
        *examined,
        choice.verdict(candidate),
    )
