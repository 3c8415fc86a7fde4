"""Profiles kept on disk by model file and machine, so that each model is measured once."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from service.host.cpu import machine
from service.host.files import write_whole
from service.repository.manifest import SAVED_MODEL, Profile

_log = logging.getLogger(__name__)
_OWNER = "model"  # a file with the path of the model that a folder belongs to
_DIGEST = 64 * "[0-9a-f]"  # the name of such a folder: others in there are somebody's own


@dataclass(frozen=True, slots=True)
class ProfileStore:
    """A folder of profiles by model file and machine. Losing it costs a measurement, never an error."""

    folder: Path
    _remembered: dict[Path, Profile] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def at(cls, folder: Path) -> Self:
        """`folder` may start with ~. A user without a home, as in some clusters, gets a temporary folder."""
        try:
            return cls(folder.expanduser())
        except RuntimeError:
            return cls(Path(tempfile.gettempdir(), folder.name))

    def read(self, model: Path, kind: str = "") -> Profile | None:
        """The profile of this file's content on this machine; None where there is none, or it cannot be read. A folder
        is a SavedModel.

        `kind` tells profiles of one file apart.
        """
        path = self._path(model, kind)
        if (remembered := self._remembered.get(path)) is not None:
            return remembered
        try:
            return Profile.parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("%s cannot be used (%s: %s); measuring again", path, type(error).__name__, error)
            return None

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Waits until no other process measures: measurements at a time would slow each other down."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY)
        except OSError:  # nothing can be kept here, as `write` logs
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # and the lock with it

    def remember(self, model: Path, profile: Profile, kind: str = "") -> None:
        """Keeps it until this process ends."""
        self._remembered[self._path(model, kind)] = profile

    def write(self, model: Path, profile: Profile, kind: str = "") -> None:
        """Where the folder cannot be written to, it is kept until this process ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            document = json.dumps(profile.document()).encode()
            write_whole(self._path(model, kind), document)  # other processes read and write it
        except OSError as error:
            self.remember(model, profile, kind)
            _log.warning("what was measured is not kept (%s); name a writable folder with --cache-dir", error)

    def locate(self, model: Path, kind: str = "") -> Path:
        """A folder for what belongs to a profile. It may not exist."""
        return self._path(model, kind).with_suffix("")

    def mark(self, place: Path, model: Path) -> None:
        """Says in `place`, which is to be a folder of `locate`, whose it is."""
        (place / _OWNER).write_bytes(os.fsencode(model.absolute()))

    def remove_orphans(self) -> None:
        """Removes the folders whose model is gone, with their profiles."""
        for owner in self.folder.glob(f"{_DIGEST}/{_OWNER}"):
            with suppress(OSError):  # another process removes them too
                if not Path(os.fsdecode(owner.read_bytes())).exists():
                    owner.parent.with_suffix(".json").unlink(missing_ok=True)
                    shutil.rmtree(owner.parent, ignore_errors=True)

    def _path(self, model: Path, kind: str) -> Path:
        if model.is_dir():
            digest = hashlib.sha256()
            for path in (model / SAVED_MODEL, *sorted((model / "variables").glob("*"))):
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            with model.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        digest.update((machine() + kind).encode())
        return self.folder / f"{digest.hexdigest()}.json"
