"""Where labelled images come from, as encoded files: scikit-learn's digits, a folder of folders, a table of paths."""

import hashlib
import io
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.data.names import escape, is_text
from export.data.partition import FEWEST, PARTS, TRAIN, check_counts
from export.errors import ExportError, UsageError
from service.plurals import format_items

DIGITS = "digits"
TABLES = (".csv", ".tsv")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"})
"""What an image's name ends in, in letters of any case. What a file is, its content decides."""

UNSUPPORTED = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".tif", ".tiff", ".svg", ".ico", ".psd"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"}
)
"""Images that nothing here decodes: each is listed, as one that cannot be read."""

_DIGIT_SIZE = 32
_LARGEST_FILE = 250_000_000
"""Bytes: more than any image has that the service decodes, and less than reading several at once may take of memory."""


Kind = tuple[str, str]
"""What is no image and is counted: a noun in the singular, and what follows it in either number."""


@dataclass(frozen=True, slots=True)
class Source:
    """Labelled, encoded images: `read(i)` is image i's file, `describe(i)` names it in errors.

    `classes` is int32 [N], indices into `labels`. `parts` is int8 [N], TRAIN, VALIDATION or HELD_OUT, where the images
    are divided already. `refused` says why, by name, for images that cannot be used whatever they hold; `passed_over`
    counts what was found and is no image, by reason.
    """

    name: str
    labels: tuple[str, ...]
    classes: Any
    read: Callable[[int], bytes]
    describe: Callable[[int], str]
    parts: Any = None
    refused: Mapping[str, str] = field(default_factory=dict)
    passed_over: Mapping[Kind, int] = field(default_factory=dict)


def find(name: str) -> Source:
    """The source called `name`: `digits`, or a folder's or a table's path. Raises UsageError where there is none."""
    if name == DIGITS:
        return digits()
    if name.lower().endswith(TABLES):
        from export.data import table

        return table.read_table(Path(name))
    return folder(Path(name))


def digits() -> Source:
    """1,797 real handwritten digits (UCI optdigits, bundled with scikit-learn), white on black.

    8x8 pixels of 17 levels as bundled, enlarged smoothly to 32x32 PNG, the size they were scanned at.
    """
    import numpy as np
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

    Class folders may lie in folders called train, val and test, or what else PARTS has for them. Hidden files and
    folders are ignored, others that are no images are counted. Raises UsageError where the folder is missing, has fewer
    than two classes, or a class has a name that cannot be a label or too few images. No image is opened yet.
    """
    divided = _find_parts(root)
    refused, passed_over = dict[str, str](), Counter[Kind]()
    folders: list[tuple[int, Path]] = []
    for part, directory in divided or [(TRAIN, root)]:
        for entry in _entries(directory):
            if entry.is_dir():
                _check_label(entry)
                folders.append((part, entry))
            else:
                passed_over[_kind(entry, " outside of the class folders")] += 1
    labels = tuple(sorted({directory.name for _, directory in folders}))
    if len(labels) < 2:
        found = f"only {labels[0]!r}" if labels else "none"
        raise UsageError(f"{escape(root)} needs one folder of images a class, at least two of them; it has {found}")
    files: list[str] = []  # as text, which is small
    classes: list[int] = []
    parts: list[int] = []
    for part, directory in folders:
        others = Counter[Kind]()
        images = _images(directory, refused, others)
        if not divided:
            _check_count(directory, len(images), others)
        passed_over.update(others)
        files += images
        classes += [labels.index(directory.name)] * len(images)
        parts += [part] * len(images)
    return from_files(
        escape(root.resolve().name), labels, files, classes, parts if divided else None, refused, passed_over
    )


def from_files(
    name: str,
    labels: tuple[str, ...],
    files: list[str],
    classes: list[int],
    parts: list[int] | None,
    refused: Mapping[str, str],
    passed_over: Mapping[Kind, int],
) -> Source:
    """A Source of files by path, as `Source` describes the rest. Raises UsageError where a class has too few images."""
    import numpy as np

    indices, given = np.array(classes, np.int32), None if parts is None else np.array(parts, np.int8)
    check_counts(labels, indices, given)
    return Source(
        name,
        labels,
        indices,
        read=lambda index: read_bytes(files[index]),
        describe=lambda index: escape(files[index]),
        parts=given,
        refused=refused,
        passed_over=passed_over,
    )


def _find_parts(root: Path) -> list[tuple[int, Path]]:
    """The folders train, val and test where these, and no other folders, hold class folders; [] elsewhere."""
    folders = [entry for entry in _entries(root) if entry.is_dir()]
    parts = [(PARTS[entry.name.lower()], entry) for entry in folders if entry.name.lower() in PARTS]
    kinds = {part for part, _ in parts}
    if TRAIN not in kinds or not len(folders) == len(parts) == len(kinds) > 1:
        return []
    return sorted(parts) if all(any(each.is_dir() for each in _entries(entry)) for _, entry in parts) else []


def _images(directory: Path, refused: dict[str, str], others: Counter[Kind]) -> list[str]:
    """Paths of a class folder's images; notes why others are refused, and counts what is no image."""
    images = []
    for entry in _entries(directory):
        suffix = entry.suffix.lower()
        if suffix in SUFFIXES and entry.is_file():
            images.append(str(entry))
        elif suffix in UNSUPPORTED and entry.is_file():
            refused[escape(entry)] = refuse(suffix)
        else:
            others[_kind(entry)] += 1
    return images


def _check_count(directory: Path, count: int, others: Mapping[Kind, int]) -> None:
    if count < FEWEST:
        besides = f" (beside {describe_counts(others)})" if others else ""
        raise UsageError(
            f"{escape(directory)} has {format_items(count, 'image')}{besides}; a class needs at least "
            f"{FEWEST}, a fifth of which "
            f"are held out. An image's name ends in one of {' '.join(sorted(SUFFIXES))}"
        )


def _check_label(directory: Path) -> None:
    if not is_text(directory.name):
        raise UsageError(
            f"the class folder {escape(directory)} has a name that is not UTF-8, or holds a line break or another "
            "control character; rename it"
        )


def refuse(suffix: str) -> str:
    """Why a file whose name ends so cannot be used."""
    return f"{suffix.lower()} files are not supported; save it as JPEG or PNG"


def fingerprint(source: Source) -> str:
    """Differs where images were added, removed or moved to another class; no image is opened."""
    names = "\0".join(map(source.describe, range(len(source.classes))))
    whole = hashlib.blake2b("\0".join((*source.labels, names)).encode(), digest_size=16)
    for each in (source.classes, source.parts):
        whole.update(b"" if each is None else each.tobytes())
    return whole.hexdigest()


def describe_counts(counts: Mapping[Kind, int]) -> str:
    return ", ".join(f"{format_items(count, noun)}{rest}" for (noun, rest), count in sorted(counts.items()))


def _kind(entry: Path, where: str = "") -> Kind:
    if entry.is_dir():
        return "folder", " inside of a class folder"
    if entry.suffix.lower() in SUFFIXES:
        return "image", where or " in no regular file"
    return (f"{escape(entry.suffix.lower())} file", where) if entry.suffix else ("file", f" without an ending{where}")


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UsageError(f"the data folder {escape(directory)} cannot be read: {error.strerror}") from error


def read_bytes(path: Path | str) -> bytes:
    """An image file's content. Raises ExportError with the reason."""
    try:
        facts = Path(path).stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe or a device may never end
            raise ExportError("cannot be read: it is no regular file")
        if facts.st_size > _LARGEST_FILE:
            raise ExportError(
                f"has {facts.st_size / 1e6:,.0f} MB, and an image's file at most {_LARGEST_FILE / 1e6:,.0f}"
            )
        return Path(path).read_bytes()
    except OSError as error:
        raise ExportError(f"cannot be read: {error.strerror}") from error
