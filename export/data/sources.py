"""Where labelled images come from, as encoded files: scikit-learn's digits, or a folder of folders."""

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.data.names import escape, is_text
from export.errors import ExportError, UsageError

DIGITS = "digits"
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"})
"""What an image's name ends in, in letters of any case. What a file is, its content decides."""

FEWEST = 5
"""Images a class needs, so that a fifth of them can be held out."""

_DIGIT_SIZE = 32


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled, encoded images: `read(i)` is image i's file, `describe(i)` names it in errors.

    `classes` is int32 [N], indices into `labels`. `passed_over` counts what was found and is no image, by reason.
    """

    name: str
    labels: tuple[str, ...]
    classes: Any
    read: Callable[[int], bytes]
    describe: Callable[[int], str]
    passed_over: Mapping[str, int] = field(default_factory=dict)


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
    """One folder a class, images in each; the folders' names, sorted, are the labels.

    Hidden files and folders are ignored, others that are no images are counted. Raises UsageError where the folder is
    missing, has fewer than two classes, or a class has a name that cannot be a label or too few images. No image is
    opened yet.
    """
    passed_over = Counter[str]()
    entries = _entries(root)
    classes = [entry for entry in entries if entry.is_dir()]
    passed_over.update(_kind(entry, " outside of the class folders") for entry in entries if not entry.is_dir())
    if len(classes) < 2:
        found = f"only {escape(classes[0].name)!r}" if classes else "none"
        raise UsageError(f"{escape(root)} needs one folder of images a class, at least two of them; it has {found}")
    files: list[Path] = []
    indices: list[int] = []
    for index, each in enumerate(classes):
        _check_label(each)
        images = _images(each, passed_over)
        files.extend(images)
        indices.extend([index] * len(images))
    return Source(
        name=escape(root.resolve().name),
        labels=tuple(each.name for each in classes),
        classes=np.array(indices, np.int32),
        read=lambda index: read_bytes(files[index]),
        describe=lambda index: escape(files[index]),
        passed_over=dict(passed_over),
    )


def _check_label(directory: Path) -> None:
    name = directory.name
    if name.splitlines() != [name]:
        raise UsageError(f"the class folder {escape(name)!r} has a line break in its name; rename it")
    if not is_text(name):
        raise UsageError(f"the class folder {escape(directory)} has a name that is not UTF-8; rename it")


def _images(directory: Path, passed_over: Counter[str]) -> list[Path]:
    images, others = [], Counter[str]()
    for entry in _entries(directory):
        if entry.suffix.lower() in SUFFIXES and entry.is_file():
            images.append(entry)
        else:
            others[_kind(entry)] += 1
    if len(images) < FEWEST:
        besides = f" (beside {describe_counts(others)})" if others else ""
        raise UsageError(
            f"{escape(directory)} has {len(images)} images{besides}; a class needs at least {FEWEST}, a fifth of which "
            f"are held out. An image's name ends in one of {' '.join(sorted(SUFFIXES))}"
        )
    passed_over.update(others)
    return images


def describe_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _kind(entry: Path, where: str = "") -> str:
    if entry.is_dir():
        return "folders inside of a class folder"
    if entry.suffix.lower() in SUFFIXES:
        return f"images{where or ' that are no regular files'}"
    return f"{escape(entry.suffix.lower())} files{where}" if entry.suffix else f"files without an ending{where}"


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UsageError(f"the data folder {escape(directory)} cannot be read: {error.strerror}") from error


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises ExportError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{escape(path)} cannot be read: {error.strerror}") from error
