"""`assets.extra/files.json`: which files a version consists of, so that a copy of it is known to be whole."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FILES = "assets.extra/files.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class File:
    size: int
    sha256: str


Contents = Mapping[str, File]
"""By path below the version's folder, with `/` between its parts. The list itself is not in it."""


def write(folder: Path) -> None:
    """Lists what is below a version folder, in it."""
    contents = {}
    for path in sorted(paths(folder) - {FILES}):
        with (folder / path).open("rb") as file:
            contents[path] = File((folder / path).stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    (folder / FILES).parent.mkdir(exist_ok=True)
    (folder / FILES).write_bytes(dump(contents))


def paths(folder: Path) -> set[str]:
    """Every file below `folder`, hidden ones aside."""
    found = set()
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found |= {Path(parent, name).relative_to(folder).as_posix() for name in files if not name.startswith(".")}
    return found


def check(folder: Path) -> None:
    """Reads every listed file of a version folder; one without a list passes.

    Raises ValueError, naming a file, where one is missing or not what the list says, or the list cannot be read.
    """
    try:
        listed = load((folder / FILES).read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / FILES} cannot be read ({error}); copy it again") from error
    differ = [path for path, file in listed.items() if _size(folder / path) != file.size]
    if not differ:  # what is still being copied is known without reading it
        differ = [path for path, file in listed.items() if _digest(folder / path) != file.sha256]
    if differ:
        raise ValueError(
            f"{folder} is not whole: {len(differ)} of its {len(listed)} files are missing, cut short or not what "
            f"{FILES} says, {differ[0]} among them; copy it again, or remove {FILES} where the change is meant"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def dump(contents: Contents) -> bytes:
    files = {path: asdict(file) for path, file in sorted(contents.items())}
    return json.dumps({"format": _FORMAT, "files": files}, indent=2).encode() + b"\n"


def load(data: bytes) -> Contents:
    """Raises ValueError where `data` is no such list, or a later format's."""
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']} is not {_FORMAT}")
        return {path: File(int(file["size"]), str(file["sha256"])) for path, file in document["files"].items()}
    except (ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
