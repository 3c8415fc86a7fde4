"""HTML tables that a keyboard can sort: each cell has the value it is sorted by beside the words it shows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Cell:
    """`value` None sorts below everything; `words` is text, not HTML."""

    value: float | str | None
    words: str
    css: str = ""
    hint: str = ""
    """Further words, smaller and softer."""


NOTHING = Cell(None, "-", "none")


@dataclass(frozen=True)
class Row:
    cells: Sequence[Cell]
    subject: int | None = None
    css: str = ""


def table(caption: str, head: Sequence[str], rows: Iterable[Row], words: Sequence[int] = (0,)) -> str:
    """`caption` is what a screen reader says. The first column names the row and stays while others scroll; those in
    `words` hold no numbers.
    """
    buttons = "".join(_head(each, index in words) for index, each in enumerate(head))
    body = "".join(map(_row, rows))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{buttons}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _head(words: str, is_text: bool) -> str:
    css = ' class="text"' if is_text else ""
    return f'<th scope="col"{css}><button type="button">{escape(words)}</button></th>'


def _row(row: Row) -> str:
    subject = "" if row.subject is None else f' data-s="{row.subject}"'
    css = f' class="{row.css}"' if row.css else ""
    first, *others = row.cells
    return f"<tr{subject}{css}>{_cell(first, 'th')}{''.join(_cell(each, 'td') for each in others)}</tr>"


def _cell(cell: Cell, tag: str) -> str:
    value = "" if cell.value is None else f"{cell.value:.6g}" if isinstance(cell.value, float) else str(cell.value)
    css = f' class="{cell.css}"' if cell.css else ""
    scope = ' scope="row"' if tag == "th" else ""
    hint = f' <span class="hint">{escape(cell.hint)}</span>' if cell.hint else ""
    return f'<{tag}{scope}{css} data-v="{escape(value)}">{escape(cell.words)}{hint}</{tag}>'


def text(words: str, css: str = "text") -> Cell:
    return Cell(words, words, css)


def told(value: float | None, words: Callable[[Any], str]) -> Cell:
    """`value` in `words`."""
    return NOTHING if value is None else Cell(value, words(value))
