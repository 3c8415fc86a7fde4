"""Where labelled images come from, as encoded files: scikit-learn's digits, or a folder of folders."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError, UsageError

DIGITS = "digits"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
FEWEST = 5
"""Images a class needs, so that a fifth of them can be held out."""

_DIGIT_SIZE = 32


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled, encoded images: `read(i)` is image i's file, `describe(i)` names it in errors.

    `classes` is int32 [N], indices into `labels`.
    """

    name: str
    labels: tuple[str, ...]
    classes: Any
    read: Callable[[int], bytes]
    describe: Callable[[int], str]


def find(name: str) -> Source:
    """The source called `name`: `digits`, or else a folder's path. Raises UsageError where there is none."""
    return digits() if name == DIGITS else folder(Path(name))


def digits() -> Source:
    """1,797 real handwritten digits (UCI optdigits, bundled with scikit-learn), white on black.

    8x8 pixels of 17 levels as bundled, enlarged smoothly to 32x32 PNG, the size they were scanned at.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    bundle: Any = load_digits()
    levels = np.rint(bundle.images * (255 / 16)).astype(np.uint8)

    def read(index: int) -> bytes:
        file = io.BytesIO()
        large = Image.fromarray(levels[index]).resize((_DIGIT_SIZE, _DIGIT_SIZE), Image.Resampling.BICUBIC)
        large.convert("RGB").save(file, "PNG")
        return file.getvalue()

    labels = tuple(str(name) for name in bundle.target_names)
    classes = bundle.target.astype(np.int32)
    return Source(DIGITS, labels, classes, read, lambda index: f"digit number {index}")


def folder(root: Path) -> Source:
    """One folder a class, JPEG or PNG files in each; the folders' names, sorted, are the labels.

    Other files and hidden folders are passed over. Raises UsageError where the folder is missing, has
    fewer than two classes, or a class has too few images. No image is opened yet.
    """
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UsageError(f"the data folder {root} cannot be read: {error.strerror}") from error
    classes = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if len(classes) < 2:
        found = f"only {classes[0].name!r}" if classes else "none"
        raise UsageError(f"{root} needs one folder of images a class, at least two of them; it has {found}")
    files: list[Path] = []
    indices: list[int] = []
    for index, each in enumerate(classes):
        if each.name.splitlines() != [each.name]:
            raise UsageError(f"the class folder {each.name!r} has a line break in its name; rename it")
        images = _images(each)
        if len(images) < FEWEST:
            raise UsageError(
                f"{each} has {len(images)} JPEG or PNG images; a class needs at least {FEWEST}, "
                "a fifth of which are held out"
            )
        files.extend(images)
        indices.extend([index] * len(images))
    return Source(
        name=root.resolve().name,
        labels=tuple(each.name for each in classes),
        classes=np.array(indices, np.int32),
        read=lambda index: _bytes(files[index]),
        describe=lambda index: str(files[index]),
    )


def _images(directory: Path) -> list[Path]:
    try:
        return sorted(
            file
            for file in directory.iterdir()
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
    except OSError as error:
        raise UsageError(f"the data folder {directory} cannot be read: {error.strerror}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}") from error
