"""Files in a model repository that are not served, and why: other layouts, and mistakes in this one."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from service.names import is_model_name
from service.repository.manifest import SAVED_MODEL, TFLITE
from service.repository.repository import LARGEST_VERSION, holds_model, version_number

_SERVED = f"{SAVED_MODEL} or {TFLITE}"
_FORMATS = (".keras", ".h5", ".hdf5", ".onnx", ".pt", ".pth", ".pb", ".tflite", ".mar", ".safetensors")
_ELSEWHERE = "start with --repository"
_VOLUMES_OWN = "lost+found"
_DIGITS = re.compile(r"\D*(\d{1,18})\D*")

Notes = Iterator[tuple[str, str]]
"""Paths below the repository, and why nothing is served from there."""


def passed_over(root: Path) -> dict[str, str]:
    """Path below `root` -> why it is not served, for everything that looks like a model; a wrong `root` comes first.
    Hidden files are ignored. Empty where `root` itself cannot be read.
    """
    notes: dict[str, str] = {}
    for entry in _children(root)[0] or ():
        with suppress(OSError):  # gone as we look
            notes |= _in_root(root, entry)
    return dict(sorted(notes.items(), key=lambda note: _ELSEWHERE not in note[1]))


def _in_root(root: Path, entry: Path) -> Notes:
    name = entry.name
    if name == _VOLUMES_OWN:
        return
    children, error = _children(entry)
    if children is None:
        if not entry.is_file():
            yield name, error
        elif _is_model_file(entry):
            yield name, f"lies in no model's folder; a model is a folder NAME/1/ that holds {_SERVED}"
    elif version_number(name) is not None and holds_model(entry):
        yield name, f"is a version: {root} is one model's folder; {_ELSEWHERE} {root.parent}"
    elif not is_model_name(name):
        yield name, "is no model's name: letters, digits, '_', '-' and '.', at most 128, the first a letter or digit"
    else:
        served, notes = _in_model(entry, children)
        yield from notes.items()
        if not served and not notes and not _hidden(entry):
            yield name, f"holds no version; one is a folder {name}/1/ that holds {_SERVED}"


def _in_model(model: Path, children: list[Path]) -> tuple[Mapping[int, Path], Mapping[str, str]]:
    """The versions that are served, and what is not."""
    notes: dict[str, str] = {}
    deeper = [child for child in children if any(_holds_version(child))]
    if deeper and not any(version_number(child.name) is not None for child in children):
        notes[model.name] = f"is a repository of its own ({deeper[0].name} is a model); {_ELSEWHERE} {model}"
    else:
        notes |= {f"{model.name}/{child.name}": "holds versions, one folder too deep" for child in deeper}
    children = [child for child in children if child not in deeper]
    served: dict[int, Path] = {}
    for child in children:
        path = f"{model.name}/{child.name}"
        if child.is_file():
            if _is_model_file(child):
                notes[path] = f"lies in no version's folder; move the model's files to {model.name}/1/"
            continue
        number = version_number(child.name)
        reason = _not_a_version(child, number)
        if reason:
            notes[path] = reason
        elif number is not None and served.setdefault(number, child) is not child:
            notes[path] = f"is version {number} again; {served[number].name} is served"
    return served, notes


def _not_a_version(folder: Path, number: int | None) -> str:
    """Empty where it is a version, or does not look like one."""
    children, error = _children(folder)
    if children is None:
        return error
    if number is None and folder.name.isascii() and folder.name.isdigit():
        return f"is no version: numbers end at {LARGEST_VERSION}"
    if number is None:
        if not any(_is_model_file(child) for child in children):
            return ""
        found = _DIGITS.fullmatch(folder.name)
        return f"is no version: rename it to a whole number, such as {found[1] if found else 1}"
    if holds_model(folder):
        return ""
    for child in children:
        if child.name in (str(SAVED_MODEL), str(TFLITE)):
            return f"holds a {child.name} that {'this user cannot read' if child.is_file() else 'is no file'}"
        if child.is_dir() and holds_model(child):
            return f"holds its model in {child.name}/; move the files up into {folder.name}/"
    others = [child.name for child in children if _is_model_file(child)]
    if others:
        return f"holds {others[0]}, and {_SERVED} is served; `python -m export` makes both of a Keras model's weights"
    return f"holds no {_SERVED}"


def _holds_version(folder: Path) -> Iterator[Path]:
    children, _ = _children(folder)
    for child in children or ():
        if version_number(child.name) is not None and holds_model(child) and version_number(folder.name) is None:
            yield child


def _is_model_file(path: Path) -> bool:
    return path.suffix in _FORMATS


def _hidden(folder: Path) -> bool:
    """Whether something hidden is there, such as a version that is being staged."""
    return any(child.name.startswith(".") for child in folder.iterdir())


def _children(folder: Path) -> tuple[list[Path] | None, str]:
    """A folder's entries, hidden files aside; None and the reason where it cannot be read."""
    try:
        return sorted(child for child in folder.iterdir() if not child.name.startswith(".")), ""
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
