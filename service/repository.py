"""What is on disk: `<repository>/<name>/<version>/` folders in TensorFlow Serving's layout."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.errors import NotReady
from service.manifest import SAVED_MODEL, TFLITE
from service.messages import is_model_name


@dataclass(frozen=True, slots=True)
class Repository:
    """A folder of models. Reads only; a version appears to it by an atomic rename or by being copied in."""

    root: Path

    def scan(self) -> dict[str, dict[int, str]]:
        """Name -> version -> fingerprint of its files (names, sizes, times).

        A version is a folder whose name is a whole number (`00000123` is 123) and that holds a
        `saved_model.pb` or a `model.tflite`; anything else, hidden folders too, is not a model.
        Raises NotReady where the folder itself cannot be read.
        """
        try:
            models = sorted(self.root.iterdir())
        except OSError as error:
            raise NotReady(
                f"the model repository {self.root} cannot be read ({error.strerror}); mount its volume, "
                "create it with `python -m export`, or name another with --repository"
            ) from error
        found: dict[str, dict[int, str]] = {}
        for model in models:
            if is_model_name(model.name):
                found[model.name] = {version: _fingerprint(folder) for version, folder in _versions(model)}
        return {name: versions for name, versions in found.items() if versions}

    def folder(self, name: str, version: int) -> Path:
        """Where that version lies. Raises FileNotFoundError where it has gone."""
        for number, folder in _versions(self.root / name):
            if number == version:
                return folder
        raise FileNotFoundError(f"{self.root / name} has no version {version}")


def _versions(model: Path) -> Iterator[tuple[int, Path]]:
    """A model's versions; of two folders for one number (`1`, `0001`) the first by name."""
    seen: set[int] = set()
    for folder in _readable(model):
        numbered = folder.name.isascii() and folder.name.isdigit() and len(folder.name) < 20
        if numbered and int(folder.name) not in seen and _holds_model(folder):
            seen.add(int(folder.name))
            yield int(folder.name), folder


def _readable(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # no folder, gone meanwhile, or not ours to read: the other models are still served
        return []


def _holds_model(folder: Path) -> bool:
    return any(os.access(folder / file, os.R_OK) for file in (SAVED_MODEL, TFLITE))


def _fingerprint(folder: Path) -> str:
    parts = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            try:
                facts = (Path(parent) / name).stat()
            except OSError:  # being replaced as we look: the next look differs
                continue
            parts.append(f"{parent}/{name}:{facts.st_size}:{facts.st_mtime_ns}")
    return "\n".join(parts)
