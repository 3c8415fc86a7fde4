"""A source's images, split and decoded to a network's size."""

import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.data import duplicates, reading
from export.data.options import MAX_BAD_FILES
from export.data.partition import Partition, check_counts, divide
from export.data.scratch import PixelFile
from export.data.sources import Source, describe_counts
from export.errors import ExportError
from export.progress import Stage
from service.plurals import format_items

EXAMPLES = 16

_AT_ONCE = 1024  # images that wait for a thread: a task each for a million of them would be a gigabyte


@dataclass(frozen=True, slots=True)
class Split:
    """Images as the graph decodes them, uint8 [N, size, size, 3], and classes, int32 [N], -1 where nobody knows."""

    images: Any
    classes: Any


@dataclass(frozen=True, slots=True)
class Example:
    """One held-out image as its encoded file, for parity checks, warm-up and samples; `origin` names it."""

    data: bytes
    label: str
    origin: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """`examples` are the first rows of `held_out`, classes taking turns, at most EXAMPLES.

    `validation` chooses among states of a network, which `held_out`, apart from it, then measures. `warnings` says what
    was left out, and which images only the service can decode. `fingerprint` is another one for other images, labels or
    splits, "" where nobody needs it. `describe_row` names the file of a row of `train`.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    held_out: Split
    examples: tuple[Example, ...]
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    describe_row: Callable[[int], str] = str


def load(
    source: Source, size: int, stage: Stage, max_bad_files: float = MAX_BAD_FILES, parts: Partition | None = None
) -> Dataset:
    """Decodes every image to [size, size] once, by the service's decoder and by the graph's; `parts` divides them, by
    default as `divide` does.

    Images that the service would refuse are listed with the reason and left out, as if they had never been there.
    Raises ExportError where they are more than the share `max_bad_files`, or leave a class with too few. Pixels lie in
    a scratch file, so a folder may exceed memory.
    """
    order = (divide(source.classes, source.parts) if parts is None else parts).order
    file = PixelFile(len(order), size)
    stage.tell(f"{file.file_bytes / 1e6:,.1f} MB of {tempfile.gettempdir()} reserved for pixels")
    readings = _decode(source, order, file, stage)
    bad = {int(index): each for index, each in zip(order, readings.reasons, strict=True) if each}
    refused = {**source.refused, **{source.describe(index): reason for index, reason in bad.items()}}
    _check_bad_files(refused, len(order) + len(source.refused), max_bad_files, stage)
    divided = _divide(source, bad) if parts is None else parts.leave_out(bad)
    rows = _place(file, order, divided.order)
    images, classes = file.map(len(rows)), source.classes[divided.order]
    trained, seen = len(divided.train), len(rows) - len(divided.held_out)
    read = readings.select(rows)
    indices = divided.order.tolist()
    return Dataset(
        name=source.name,
        labels=source.labels,
        train=Split(images[:trained], classes[:trained]),
        validation=Split(images[trained:seen], classes[trained:seen]),
        held_out=Split(images[seen:], classes[seen:]),
        examples=tuple(
            Example(
                reading.encode_png(images[row]) if read.troubles[row] else source.read(indices[row]),
                source.labels[classes[row]],
                source.describe(indices[row]),
            )
            for row in range(seen, min(seen + EXAMPLES, len(indices)))
        ),
        warnings=(
            *_describe_refused(refused, len(order) + len(source.refused)),
            *_describe_troubles(source, indices, read.troubles),
            *duplicates.describe(read.digests, classes, trained, lambda row: source.describe(indices[row])),
        ),
        fingerprint=duplicates.fingerprint(
            read.digests, np.append(classes, [trained, seen]).astype(np.int64), source.labels
        ),
        describe_row=lambda row: source.describe(indices[row]),
    )


def _divide(source: Source, bad: Collection[int]) -> Partition:
    """Divides the images that are not `bad`, as if there were no others."""
    kept = np.array([index for index in range(len(source.classes)) if index not in bad], np.int64)
    classes, parts = source.classes[kept], None if source.parts is None else source.parts[kept]
    if bad:
        check_counts(source.labels, classes, parts)
    divided = divide(classes, parts)
    return Partition(kept[divided.train], kept[divided.validation], kept[divided.held_out])


@dataclass(frozen=True, slots=True)
class _Readings:
    """By row: why its file cannot be used, or ""; what the graph cannot do with it, or ""; a digest of its pixels."""

    reasons: list[str]
    troubles: list[str]
    digests: Any

    def select(self, rows: Any) -> "_Readings":
        reasons, troubles = ([each[row] for row in rows.tolist()] for each in (self.reasons, self.troubles))
        return _Readings(reasons, troubles, self.digests[rows])


def _decode(source: Source, order: Any, file: PixelFile, stage: Stage) -> _Readings:
    """Fills `file`, one row for each index in `order`."""
    decode = reading.build_graph(file.size)
    digests = duplicates.allocate_digests(len(order))

    def fill(row: int) -> tuple[str, str]:
        try:
            pixels, trouble = reading.read(source.read(int(order[row])), file.size, decode)
        except ExportError as error:
            return str(error), ""
        file.write(row, pixels)
        duplicates.write_digest(digests, row, pixels)
        return "", trouble

    outcomes: list[tuple[str, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for start in range(0, len(order), _AT_ONCE):
                for outcome in pool.map(fill, range(start, min(start + _AT_ONCE, len(order)))):
                    outcomes.append(outcome)
                    stage.advance(len(outcomes), len(order), "images")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return _Readings([reason for reason, _ in outcomes], [trouble for _, trouble in outcomes], digests)


def _place(file: PixelFile, order: Any, wanted: Any) -> Any:
    """Moves the rows of `file`, which hold the images `order`, so that the first ones hold `wanted`.

    Returns where each of these was before.
    """
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.arange(len(order))
    rows = row_of[wanted]
    if len(wanted) < len(order):
        file.permute(np.concatenate([rows, np.setdiff1d(np.arange(len(order)), rows)]))
    return rows


def _check_bad_files(refused: Mapping[str, str], total: int, most: float, stage: Stage) -> None:
    """Lists every refused file. Raises ExportError where they are more than the share `most`."""
    listed = [f"{name}: {reason}" for name, reason in sorted(refused.items())]
    if len(refused) > most * total:
        lines = "".join(f"\n  {line}" for line in listed)
        raise ExportError(
            f"{len(refused)} of {format_items(total, 'image')} cannot be used, more than --max-bad-files "
            f"{most:g} allows; mend or "
            f"remove them:{lines}"
        )
    for line in listed:
        stage.tell(f"left out: {line}")


def _describe_refused(refused: Mapping[str, str], total: int) -> list[str]:
    if not refused:
        return []
    name = min(refused)
    total_images, verb = format_items(total, "image"), "is" if len(refused) == 1 else "are"
    return [f"{len(refused)} of {total_images} cannot be used and {verb} left out (first: {name}: {refused[name]})"]


def _describe_troubles(source: Source, indices: list[int], troubles: list[str]) -> list[str]:
    """One line a reason, with the first file that it holds for."""
    lines = [f"not read: {describe_counts(source.passed_over)}"] if source.passed_over else []
    for trouble in sorted({each for each in troubles if each}):
        concerned = [index for index, each in zip(indices, troubles, strict=True) if each == trouble]
        images, verb = format_items(len(indices), "image"), "is" if len(concerned) == 1 else "are"
        first = source.describe(min(concerned))
        lines.append(f"{len(concerned)} of {images} {verb} {trouble} (first: {first})")
    return lines
