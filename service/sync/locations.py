"""Where versions lie: the seam between copying and the folders or object stores that it copies between."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

_SCHEMES = ("s3", "gs", "az")

Found = Mapping[str, Mapping[int, Mapping[str, int]]]
"""Model name -> version -> path of each of its files -> bytes."""

Streams = Iterable[tuple[str, Iterator[bytes]]]
"""Paths and contents of files; each is read to its end before the next one begins."""


class SyncError(Exception):
    """Something outside the program failed; the message says what, where, and what to do next."""


class Source(Protocol):
    @property
    def vouched(self) -> bool:
        """Whether a version is whole even without a list of its files: in a folder it appears by a rename."""

    def found(self) -> Found:
        """Everything that looks like a version. Raises SyncError where the place cannot be read."""

    def read(self, name: str, version: int, path: str) -> Iterator[bytes]:
        """Raises SyncError, later too."""


class Destination(Source, Protocol):
    """A place to write to, and to read what is there already."""

    def publish(self, name: str, version: int | None, files: Streams) -> int:
        """Writes one version and returns its number: `version`, or the next free one for None.

        The last of `files` is the list of them. Readers see all of it or, where anything fails, none. Raises SyncError.
        """

    def remove(self, name: str, version: int) -> None:
        """Hides a version from readers, then deletes it. Raises SyncError."""


def open_location(text: str, *, create: bool = False) -> Destination:
    """From a path, or `s3://bucket/prefix`, `gs://…`, `az://…`. `create` makes a folder that is missing.

    Raises ValueError for other text, SyncError where the folder cannot be made or a library is missing.
    """
    scheme, divided, rest = text.partition("://")
    if not divided or scheme == "file":
        from service.sync.folder import Folder

        folder = Folder(Path(rest if divided else text))
        if create:
            folder.create()
        return folder
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ValueError(f"{text!r} is neither a folder nor one of {known}")
    try:
        from service.sync.object_store import open_store
    except ModuleNotFoundError as error:
        raise SyncError(f"{text} needs obstore: pip install 'image-model-server[remote]'") from error
    return open_store(text)
