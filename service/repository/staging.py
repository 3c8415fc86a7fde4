"""A version folder is staged in a hidden sibling and appears by one rename: a reader sees all of it or none."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.repository.repository import version_number

_PREFIX = ".staging-"  # hidden, and no number: neither this project nor TensorFlow Serving would load it


@contextmanager
def staging(home: Path) -> Iterator[Path]:
    """An empty folder `<home>/.staging-…`, on the same disk as its place to be, that is gone after the block unless
    it was renamed. First clears what killed processes left. Raises OSError.
    """
    home.mkdir(parents=True, exist_ok=True)
    _clear_stale(home)
    folder, lock = _claim(home)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        with suppress(OSError):  # it holds versions, or somebody else's staging
            home.rmdir()


def publish(folder: Path, version: int) -> None:
    """Renames a staged folder to its number, once all of it is on disk.

    Raises OSError where the disk refuses, or where that version is there: nothing is ever replaced.
    """
    flush(folder)
    folder.rename(folder.parent / str(version))
    _flush_directory(folder.parent)


def publish_next(folder: Path, finish: Callable[[int], None]) -> int:
    """Renames a staged folder to the next whole number beside it, and returns that number.

    `finish(version)` writes what depends on the number; it runs again where somebody else was faster.
    Raises OSError where the disk refuses.
    """
    home = folder.parent
    version = _newest(home) + 1
    while True:
        finish(version)
        try:
            publish(folder, version)
        except OSError:
            if not (home / str(version)).exists():
                raise
            version = max(_newest(home), version) + 1
            continue
        return version


def remove(folder: Path) -> None:
    """Takes a published version away: for its readers at once, from the disk after that. Raises OSError."""
    with staging(folder.parent) as place:
        folder.rename(place / folder.name)


def flush(folder: Path) -> None:
    """Everything below `folder` is on disk after this."""
    for parent, _, files in os.walk(folder):
        for file in files:
            with Path(parent, file).open("rb") as opened:
                os.fsync(opened.fileno())
        _flush_directory(Path(parent))


def lock_folder(folder: Path) -> int | None:
    """A descriptor that holds `folder` alone until it is closed, or None where somebody else does or it has gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.path.samestat(os.fstat(descriptor), folder.stat())  # another may stand under its name by now
    except (BlockingIOError, FileNotFoundError):
        held = False
    if not held:
        os.close(descriptor)
        return None
    return descriptor


def _newest(home: Path) -> int:
    return max((number for entry in home.iterdir() if (number := version_number(entry.name)) is not None), default=0)


def _claim(home: Path) -> tuple[Path, int]:
    """Makes a staging folder and locks it for this process's life; a killed owner's lock goes with it.

    A lock and not a process number: numbers are reused, and mean nothing in a neighbouring container.
    """
    while True:
        folder = home / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)  # a failing neighbour may just have cleared an empty home away
        lock = lock_folder(folder)
        if lock is None:
            continue  # cleared as stale before it was ours
        return folder, lock


def _clear_stale(home: Path) -> None:
    for folder in home.glob(f"{_PREFIX}*"):
        lock = lock_folder(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
