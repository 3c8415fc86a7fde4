"""A folder of images -> a file of answers, which a run that was ended goes on with."""

import csv
import glob
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from image_model_client.errors import UnreadableImage
from image_model_client.images import is_address
from image_model_client.results import Prediction

_IMAGES = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp")


def find_files(names: Iterable[str]) -> Iterator[str]:
    """Files, addresses, folders (all images below, sorted within each) and patterns such as 'photos/**/*.jpg' -> files
    and addresses, as they are found.

    Raises UnreadableImage for what is not there, when its turn comes.
    """
    for name in names:
        if is_address(name) or Path(name).is_file():
            yield name
        elif Path(name).is_dir():
            yield from _walk(name)
        elif glob.has_magic(name):
            found = False
            for path in glob.iglob(name, recursive=True):  # noqa: PTH207 # pathlib's takes no absolute pattern
                if Path(path).is_file():
                    found = True
                    yield path
            if not found:
                raise UnreadableImage(f"no file matches {name}")
        else:
            raise UnreadableImage(f"{name} is neither a file, a folder nor a pattern that matches any file")


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (str(Path(parent, file)) for file in sorted(files) if file.lower().endswith(_IMAGES))


class Form(Protocol):
    """How an answer is written as one line, and which file a line is about."""

    def head(self) -> str: ...

    def line(self, file: str, prediction: Prediction) -> str: ...

    def read_file(self, line: str) -> str: ...


class JsonLines:
    """{"file": ..., "model": ..., "version": ..., "label": ..., "probability": ..., "top_k": [...]}"""

    def head(self) -> str:
        return ""

    def line(self, file: str, prediction: Prediction) -> str:
        answer = {"file": file, "model": prediction.model, "version": prediction.version}
        if prediction.top_k:
            top = [{"label": one.label, "probability": one.probability} for one in prediction.top_k]
            answer |= {**top[0], "top_k": top}
        else:
            answer["outputs"] = prediction.outputs
        return json.dumps(answer, ensure_ascii=False) + "\n"

    def read_file(self, line: str) -> str:
        return str(json.loads(line)["file"])


@dataclass(frozen=True, slots=True)
class Csv:
    """A line an image: the file, model and version, then `top_k` pairs of label and probability."""

    top_k: int

    def head(self) -> str:
        pairs = [name for k in range(1, self.top_k + 1) for name in (f"label_{k}", f"probability_{k}")]
        return _write_row(["file", "model", "version", *pairs])

    def line(self, file: str, prediction: Prediction) -> str:
        pairs = [value for one in prediction.top_k for value in (one.label, f"{one.probability:.6g}")]
        pairs += [""] * (2 * self.top_k - len(pairs))
        return _write_row([file, prediction.model, str(prediction.version), *pairs])

    def read_file(self, line: str) -> str:
        return next(csv.reader([line]))[0]


def _write_row(cells: list[str]) -> str:
    row = io.StringIO()
    # A line is an answer: a file's name with a line's end in it would be two.
    csv.writer(row, lineterminator="\n").writerow([cell.replace("\n", "\\n").replace("\r", "\\r") for cell in cells])
    return row.getvalue()


class Output:
    """A file that answers are added to. Opened again, it knows which files it has; a line that was cut off in the
    middle is taken away. Eight bytes are kept of each file's name.
    """

    def __init__(self, path: Path, form: Form) -> None:
        """Raises ValueError where the file holds something else."""
        self._form, self._done = form, set[bytes]()
        self._file: IO[bytes] = path.open("ab+")
        self._file.seek(0)
        whole = 0
        head = form.head().encode()
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            if number == 0 and head:
                if line != head:
                    raise ValueError(f"{path} has other columns than this run writes; name another --output")
                continue
            try:
                self._done.add(_digest(form.read_file(line.decode())))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise ValueError(f"line {number + 1} of {path} is not of this form; name another --output") from error
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
        if whole == 0 and head:
            self._file.write(head)

    @property
    def done(self) -> int:
        """How many files it has."""
        return len(self._done)

    def has(self, file: str) -> bool:
        return _digest(file) in self._done

    def add(self, file: str, prediction: Prediction) -> None:
        """Written at once and whole: whoever kills the run loses no answer that was counted."""
        self._file.write(self._form.line(file, prediction).encode())
        self._file.flush()
        self._done.add(_digest(file))

    def close(self) -> None:
        self._file.close()


def _digest(file: str) -> bytes:
    kept = file.replace("\n", "\\n").replace("\r", "\\r")
    return hashlib.blake2b(kept.encode(errors="surrogateescape"), digest_size=8).digest()
