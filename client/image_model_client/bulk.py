"""A folder of images -> a file of answers, which a run that was ended goes on with."""

import csv
import glob
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from image_model_client.images import is_address
from image_model_client.results import Label, Prediction

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_MOST_LINES = 20  # of one record: a table with one quotation mark too many is not one record that was cut off
_IMAGES = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp")


def find_files(names: Iterable[str], report: Callable[[str], None]) -> Iterator[str]:
    """Files, addresses, folders (all images below, sorted within each) and patterns such as 'photos/**/*.jpg' -> files
    and addresses, as they are found. `report` gets a sentence for what is not there or cannot be looked into.
    """
    for name in names:
        if is_address(name) or Path(name).is_file():
            yield name
        elif Path(name).is_dir():
            yield from _walk(name, report)
        elif glob.has_magic(name):
            found = False
            for path in glob.iglob(name, recursive=True):  # noqa: PTH207 # pathlib's takes no absolute pattern
                if Path(path).is_file():
                    found = True
                    yield path
            if not found:
                report(f"no file matches {name}")
        else:
            report(f"{name} is neither a file, a folder nor a pattern that matches any file")


def _walk(folder: str, report: Callable[[str], None]) -> Iterator[str]:
    def complain(error: OSError) -> None:
        report(f"the folder {error.filename} cannot be read: {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=complain):
        folders.sort()
        yield from (str(Path(parent, file)) for file in sorted(files) if file.lower().endswith(_IMAGES))


class Form(Protocol):
    """How an answer is written as one record, which file a record is about, and where it ends."""

    def start(self) -> str:
        """What a file of this form begins with."""

    def write(self, file: str, prediction: Prediction) -> str: ...

    def read_file(self, record: str) -> str:
        """Raises ValueError, KeyError or TypeError where the record has another form."""

    def is_whole(self, lines: str) -> bool:
        """Whether a record ends with these lines, which end with a line's end."""

    def is_start(self, text: str) -> bool:
        """Whether `text` may be what is left of a first record that was cut off."""


class JsonLines:
    """{"file": ..., "model": ..., "version": ..., "label": ..., "probability": ..., "top_k": [...]}; a name that is no
    UTF-8 has its other bytes as \\udc80 to \\udcff, as Python reads names.
    """

    def start(self) -> str:
        return ""

    def write(self, file: str, prediction: Prediction) -> str:
        answer = {"file": file, "model": prediction.model, "version": prediction.version}
        if prediction.top_k:
            top = [_render_label(one) for one in prediction.top_k]
            answer |= {**top[0], "top_k": top}
        else:
            answer["outputs"] = prediction.outputs
        return json.dumps(answer) + "\n"

    def read_file(self, record: str) -> str:
        return str(json.loads(record)["file"])

    def is_whole(self, lines: str) -> bool:
        return True

    def is_start(self, text: str) -> bool:
        start = '{"file": '
        return text.startswith(start) or start.startswith(text)


def _render_label(label: Label) -> dict[str, Any]:
    probability = None if math.isnan(label.probability) else label.probability
    return {"label": label.label, "probability": probability}


@dataclass(frozen=True, slots=True)
class Csv:
    """A row an image: the file, model and version, then `top_k` pairs of label and probability. A name with a line's
    end in it is quoted, and its row has several lines.
    """

    top_k: int

    def start(self) -> str:
        pairs = [name for k in range(1, self.top_k + 1) for name in (f"label_{k}", f"probability_{k}")]
        return _write_row(["file", "model", "version", *pairs])

    def write(self, file: str, prediction: Prediction) -> str:
        pairs = [value for one in prediction.top_k for value in (one.label, f"{one.probability:.6g}")]
        pairs += [""] * (2 * self.top_k - len(pairs))
        return _write_row([file, prediction.model, str(prediction.version), *pairs])

    def read_file(self, record: str) -> str:
        (row,) = csv.reader(io.StringIO(record, newline=""), strict=True)
        if len(row) != 3 + 2 * self.top_k:
            raise ValueError(f"expected {3 + 2 * self.top_k} columns, got {len(row)}")
        return row[0]

    def is_whole(self, lines: str) -> bool:
        return lines.count('"') % 2 == 0  # a quotation mark in a cell is written twice

    def is_start(self, text: str) -> bool:
        return self.start().startswith(text)


def _write_row(cells: list[str]) -> str:
    row = io.StringIO()
    # Before Python 3.13 a lone carriage return is not quoted, and no reader takes it.
    lone = any("\r" in cell for cell in cells)
    csv.writer(row, lineterminator="\n", quoting=csv.QUOTE_ALL if lone else csv.QUOTE_MINIMAL).writerow(cells)
    return row.getvalue()


class Output:
    """A file that answers are added to. Opened again, it knows which files it has; a record that was cut off in the
    middle is taken away. Of each file's name eight bytes are kept.
    """

    def __init__(self, path: Path, form: Form) -> None:
        """Raises OSError, and ValueError where the file holds something else or another run writes it."""
        self._form, self._taken = form, set[int]()
        self._file: BinaryIO = path.open("ab+")
        try:
            if not lock_file(self._file):
                raise ValueError(f"another run writes {path}; wait until it ends, or name another --output")
            whole = self._read(path)
        except ValueError:
            self._file.close()
            raise
        self.done = len(self._taken)
        """How many answers it had when it was opened."""
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
        if whole == 0 and form.start():
            self._file.write(_encode(form.start()))

    def _read(self, path: Path) -> int:
        """How many bytes hold whole records."""
        self._file.seek(0)
        whole, rest, start = 0, "", self._form.start()
        for number, line in enumerate(self._file):
            rest += line.decode(errors="surrogateescape")
            if not (line.endswith(b"\n") and self._form.is_whole(rest)):
                if rest.count("\n") > _MOST_LINES:
                    raise ValueError(f"line {number + 1} of {path} is not of this form; name another --output")
                continue
            if start and not whole:
                if rest != start:
                    raise ValueError(f"{path} has other columns than this run writes; name another --output")
            else:
                try:
                    self._taken.add(_digest(self._form.read_file(rest)))
                except (ValueError, KeyError, TypeError, csv.Error) as error:
                    said = f"line {number + 1} of {path} is not of this form; name another --output"
                    raise ValueError(said) from error
            whole, rest = self._file.tell(), ""
        if rest and not whole and not self._form.is_start(rest):
            raise ValueError(f"{path} does not hold answers of this program; name another --output")
        return whole

    def claim(self, file: str) -> bool:
        """True where the output has no answer for this file and no other task has claimed it."""
        digest = _digest(file)
        if digest in self._taken:
            return False
        self._taken.add(digest)
        return True

    def add(self, file: str, prediction: Prediction) -> None:
        """Written at once and whole: whoever kills the run loses no answer that was counted."""
        self._file.write(_encode(self._form.write(file, prediction)))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def lock_file(file: BinaryIO) -> bool:
    """Whether no other process holds it. It is held until it is closed, or the process ends, however it ends.

    Always true where there are no such locks: Windows, some network file systems.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _encode(text: str) -> bytes:
    """Names of files have the bytes that they have on disk."""
    return text.encode(errors="surrogateescape")


def _digest(file: str) -> int:
    return int.from_bytes(hashlib.blake2b(_encode(file), digest_size=8).digest())
