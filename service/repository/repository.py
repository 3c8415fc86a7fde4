"""What is on disk: `<repository>/<name>/<version>/` folders in TensorFlow Serving's layout."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.errors import NotReady
from service.names import is_model_name
from service.repository.checksums import FILES
from service.repository.manifest import MANIFEST, SAVED_MODEL, TFLITE

LARGEST_VERSION = 2**63 - 1
"""Protocols have 64 bits for a version."""

_MARKS = (str(MANIFEST), FILES)


@dataclass(frozen=True, slots=True)
class Repository:
    """A folder of models. Reads only; a version appears to it by an atomic rename or by being copied in."""

    root: Path

    def scan(self) -> dict[str, dict[int, str]]:
        """Name -> version -> fingerprint: its files (names, sizes, times), and what it lacks of older versions.

        A version is a folder whose name is a whole number (`00000123` is 123) and that holds a
        `saved_model.pb` or a `model.tflite`; `layouts.passed_over` names what is neither.
        Raises NotReady where the folder itself cannot be read.
        """
        found: dict[str, dict[int, str]] = {}
        for model in self._models():
            versions = dict(_versions(model))
            missing = _missing(versions)
            found[model.name] = {
                version: "\n".join([*sorted(_file_facts(os.fspath(folder))), *missing[version]])
                for version, folder in versions.items()
            }
        return {name: versions for name, versions in found.items() if versions}

    def folder(self, name: str, version: int) -> Path:
        """Where that version lies. Raises FileNotFoundError where it has gone."""
        for number, folder in _versions(self.root / name):
            if number == version:
                return folder
        raise FileNotFoundError(f"{self.root / name} has no version {version}")

    def missing(self, name: str, version: int) -> dict[str, int]:
        """What an older version carries and this one does not, manifest or list of files: path -> that version."""
        return _missing(dict(_versions(self.root / name))).get(version, {})

    def _models(self) -> list[Path]:
        try:
            return [model for model in sorted(self.root.iterdir()) if is_model_name(model.name)]
        except OSError as error:
            raise NotReady(
                f"the model repository {self.root} cannot be read ({error.strerror}); mount its volume, "
                "create it with `python -m export`, or name another with --repository"
            ) from error


def version_number(name: str) -> int | None:
    """The version that a folder of this name holds; None for any other name, and for numbers past LARGEST_VERSION."""
    number = int(name) if name.isascii() and name.isdigit() else None
    return number if number is not None and number <= LARGEST_VERSION else None


def holds_model(folder: Path) -> bool:
    return any(os.access(folder / file, os.R_OK) and (folder / file).is_file() for file in (SAVED_MODEL, TFLITE))


def check_regular(folder: Path) -> None:
    """Raises ValueError, naming it, where a version folder holds a pipe or a device: reading it could block forever."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if path.exists() and not path.is_file() and not path.is_dir():
                raise ValueError(f"{path} is neither a file nor a folder; replace it by what the export wrote")


def _versions(model: Path) -> Iterator[tuple[int, Path]]:
    """A model's versions; of two folders for one number (`1`, `0001`) the first by name."""
    seen: set[int] = set()
    for folder in _readable(model):
        number = version_number(folder.name)
        if number is not None and number not in seen and holds_model(folder):
            seen.add(number)
            yield number, folder


def _missing(versions: dict[int, Path]) -> dict[int, dict[str, int]]:
    """Version -> what an older one carries and it does not -> the newest such older one."""
    carried: dict[str, int] = {}
    missing: dict[int, dict[str, int]] = {}
    for version in sorted(versions):
        has = [mark for mark in _MARKS if (versions[version] / mark).is_file()]
        missing[version] = {mark: older for mark, older in carried.items() if mark not in has}
        carried |= dict.fromkeys(has, version)
    return missing


def _readable(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # no folder, gone meanwhile, or not ours to read: the other models are still served
        return []


def _file_facts(folder: str) -> Iterator[str]:
    """A line for each file below; strings and not paths, because every poll goes through all of them."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        yield from _file_facts(entry.path)
                    else:
                        facts = entry.stat()
                        yield f"{entry.path}:{facts.st_size}:{facts.st_mtime_ns}"
                except OSError:  # being replaced as we look: the next look differs
                    continue
    except OSError:
        return
