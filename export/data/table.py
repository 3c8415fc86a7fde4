"""A table of paths and labels as a source: CSV or TSV, with or without a header."""

import csv
import io
from pathlib import Path

from export.data import sources
from export.data.names import escape, is_text
from export.data.partition import PARTS, TRAIN
from export.data.sources import Source
from export.errors import UsageError

_PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "url")
_LABELS = ("label", "labels", "class", "class_name", "category", "target", "species", "tag")
_PARTS = ("split", "set", "subset", "part", "partition", "fold")
_SHOWN = 5


def read_table(path: Path) -> Source:
    """One image a line: its path (relative to the table's folder), its label and, where it is divided, its part.

    A header names the columns, in any order and among others (`path`, `label`, `split`, or other usual words for
    them); without one they are the first two or three. Labels are sorted as text. Raises UsageError, with lines'
    numbers, where the table cannot be read or lines are incomplete.
    """
    rows = _parse(path)
    columns, start = _find_columns(rows, path)
    files: dict[str, tuple[str, int]] = {}
    wrong: list[str] = []
    for number, row in enumerate(rows[start:], start + 1):
        if not any(cell.strip() for cell in row):
            continue
        try:
            file, label, part = _read_row(row, columns, path.parent)
            if files.setdefault(file, (label, part)) != (label, part):
                raise UsageError(f"{escape(file)} has another label or part than above")
        except UsageError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UsageError(f"{escape(path)}: {'; '.join(wrong[:_SHOWN])}{more}")
    labels = tuple(sorted({label for label, _ in files.values()}))
    if len(labels) < 2:
        raise UsageError(f"{escape(path)} needs images of at least two classes; it has {len(labels)}")
    index = {label: number for number, label in enumerate(labels)}
    known = {file: each for file, each in files.items() if Path(file).suffix.lower() not in sources.UNSUPPORTED}
    return sources.from_files(
        name=escape(path.stem),
        labels=labels,
        files=list(known),
        classes=[index[label] for label, _ in known.values()],
        parts=[part for _, part in known.values()] if "part" in columns else None,
        refused={escape(file): sources.refuse(Path(file).suffix) for file in files if file not in known},
        passed_over={},
    )


def _parse(path: Path) -> list[list[str]]:
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"the table {escape(path)} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the table {escape(path)} is not UTF-8 (byte {error.start})") from error
    head = text.partition("\n")[0]
    delimiter = max("\t;,", key=head.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UsageError(f"the table {escape(path)} is no CSV: {error}") from error


def _find_columns(rows: list[list[str]], path: Path) -> tuple[dict[str, int], int]:
    """Column by meaning (`path`, `label` and perhaps `part`), and the first row of data."""
    if not rows:
        raise UsageError(f"the table {escape(path)} is empty")
    head = [cell.strip().lower() for cell in rows[0]]
    named = {"path": _PATHS, "label": _LABELS, "part": _PARTS}
    columns = {
        meaning: head.index(found)
        for meaning, names in named.items()
        if (found := next((name for name in names if name in head), None)) is not None
    }
    if {"path", "label"} <= columns.keys():
        return columns, 1
    width = len(rows[0])
    if not columns and width in (2, 3) and (path.parent / rows[0][0].strip()).is_file():
        return dict(zip(("path", "label", "part"), range(width), strict=False)), 0
    raise UsageError(
        f"the table {escape(path)} needs a header that names a column of paths (path, file, image, ...) and one of "
        f"labels (label, class, ...); its first line is {', '.join(rows[0])[:200]!r}"
    )


def _read_row(row: list[str], columns: dict[str, int], folder: Path) -> tuple[str, str, int]:
    """Path, label and part. Raises UsageError with what is wrong."""
    cells = {meaning: row[at].strip() if at < len(row) else "" for meaning, at in columns.items()}
    for meaning, cell in cells.items():
        if not cell:
            raise UsageError(f"it has no {meaning}")
    path, label, part = cells["path"], cells["label"], cells.get("part", "train").lower()
    if not is_text(label):
        raise UsageError(f"its label has a line break or another control character: '{escape(label)}'")
    if not is_text(path):
        raise UsageError(f"its path has a control character: '{escape(path)}'")
    if part not in PARTS:
        raise UsageError(f"expected {', '.join(PARTS)} as its part, got {part!r}")
    return str(folder / path), label, PARTS[part] if "part" in columns else TRAIN
