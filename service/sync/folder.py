"""Versions in a folder of this machine, or of a volume that is mounted here."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.errors import NotReady
from service.repository import checksums as contents
from service.repository import staging
from service.repository.repository import Repository
from service.sync.locations import Found, Streams, SyncError

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Folder:
    root: Path
    vouched = True

    def __str__(self) -> str:
        return str(self.root)

    def create(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SyncError(f"{self} cannot be made ({error.strerror}); is its volume mounted?") from error

    def found(self) -> Found:
        try:
            scanned = Repository(self.root).scan()
            return {name: {version: self._sizes(name, version) for version in scanned[name]} for name in scanned}
        except NotReady as error:
            why = error.__cause__
            raise SyncError(f"{self} cannot be read ({why.strerror if isinstance(why, OSError) else why})") from error

    def read(self, name: str, version: int, path: str) -> Iterator[bytes]:
        try:
            with (Repository(self.root).folder(name, version) / path).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise SyncError(f"{self}: {name}/{version}/{path} cannot be read ({error.strerror})") from error

    def publish(self, name: str, version: int | None, files: Streams) -> int:
        try:
            with staging.staging(self.root / name) as folder:
                for path, chunks in files:
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    with (folder / path).open("wb") as file:
                        file.writelines(chunks)
                if version is None:
                    return staging.publish_next(folder, lambda number: None)
                staging.publish(folder, version)
                return version
        except OSError as error:
            free = f"; {self._free() / 1e6:.0f} MB are free" if error.errno == errno.ENOSPC else ""
            raise SyncError(f"{self} cannot be written ({error.strerror}{free})") from error

    def remove(self, name: str, version: int) -> None:
        try:
            staging.remove(Repository(self.root).folder(name, version))
        except OSError as error:
            raise SyncError(f"{self}: {name}/{version} cannot be removed ({error.strerror})") from error

    def _sizes(self, name: str, version: int) -> dict[str, int]:
        folder = Repository(self.root).folder(name, version)
        sizes = {}
        for path in contents.paths(folder):
            try:
                sizes[path] = (folder / path).stat().st_size
            except OSError:  # being replaced as we look
                continue
        return sizes

    def _free(self) -> int:
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize
