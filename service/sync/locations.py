"""Where versions may lie: the seam between copying them and folders or object stores."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

Found = Mapping[str, Mapping[int, Mapping[str, int]]]
"""Model name -> version -> path of each of its files -> bytes."""

Streams = Iterable[tuple[str, Iterator[bytes]]]
"""Paths, and what is in the file there; one is read to its end before the next is asked for."""


class SyncError(Exception):
    """Something outside the program went wrong; the message says what, where, and what to do next."""


class Source(Protocol):
    @property
    def vouched(self) -> bool:
        """Whether a version that is seen is whole, list or not: in a folder it appears by a rename."""

    def found(self) -> Found:
        """Whatever looks like a version. Raises SyncError where the place cannot be read."""

    def read(self, name: str, version: int, path: str) -> Iterator[bytes]:
        """Raises SyncError, later too."""


class Destination(Source, Protocol):
    """One that is written to; it is read to know what it has."""

    def publish(self, name: str, version: int | None, files: Streams) -> int:
        """The version that readers now see all of: `version`, or the next free number for None.

        The last of `files` is the list of them. Where anything fails no reader ever sees any of it. Raises SyncError.
        """

    def remove(self, name: str, version: int) -> None:
        """Takes one away from readers, then away. Raises SyncError."""


def place(text: str, *, create: bool = False) -> Destination:
    """A folder, made where it is missing if `create`, or `s3://bucket/prefix`, `gs://…`, `az://…`.

    Raises ValueError for anything else, SyncError where it cannot be made or what it needs is not installed.
    """
    scheme, divided, rest = text.partition("://")
    if not divided or scheme == "file":
        from service.sync.folder import Folder

        folder = Folder(Path(rest if divided else text))
        if create:
            folder.create()
        return folder
    from service.sync import object_store as store

    if scheme not in store.SCHEMES:
        known = ", ".join(f"{name}://" for name in store.SCHEMES)
        raise ValueError(f"{text!r} is neither a folder nor one of {known}")
    return store.opened(text)
