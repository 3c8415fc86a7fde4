"""Markdown tables that line up in a terminal too."""

from collections.abc import Sequence


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    """`rows` under `head`; the columns in `text` are aligned to the left, the others, numbers, to the right."""
    widths = [max(3, *(len(row[column]) for row in (head, *rows))) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column in text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (w - 1) if column in text else "-" * (w - 1) + ":" for column, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])
