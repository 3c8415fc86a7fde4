"""A source's images, split and decoded to a network's size."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.data import reading
from export.data.partition import divide
from export.data.sources import Source, describe_counts
from export.errors import ExportError
from export.progress import Stage

EXAMPLES = 16


@dataclass(frozen=True, slots=True)
class Split:
    """Images as the graph decodes them, uint8 [N, size, size, 3], and their classes, int32 [N]."""

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
    was left out, and which images only the service can decode.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    held_out: Split
    examples: tuple[Example, ...]
    warnings: tuple[str, ...] = ()


def load(source: Source, size: int, stage: Stage) -> Dataset:
    """Decodes every image to [size, size] once, by the service's decoder and by the graph's.

    Raises ExportError that lists every image the service would refuse, with the reason. Pixels lie in an unnamed
    scratch file (in TMPDIR) that the system pages, so a folder may exceed memory.
    """
    parts = divide(source.classes)
    order = parts.order
    scratch = tempfile.TemporaryFile()  # noqa: SIM115 - the map below keeps it for as long as it is used
    try:
        images = np.memmap(scratch, np.uint8, "w+", shape=(len(order), size, size, 3))
    except OSError as error:
        raise ExportError(
            f"{len(order)} images at {size}x{size} do not fit in {tempfile.gettempdir()}: {error.strerror}; "
            "set TMPDIR to a larger disk"
        ) from error
    troubles = _decode(source, order, images, stage)
    labels, trained, seen = source.labels, len(parts.train), len(order) - len(parts.held_out)
    return Dataset(
        name=source.name,
        labels=labels,
        train=Split(images[:trained], source.classes[parts.train]),
        validation=Split(images[trained:seen], source.classes[parts.validation]),
        held_out=Split(images[seen:], source.classes[parts.held_out]),
        examples=tuple(
            Example(
                reading.encode_png(images[seen + place]) if troubles[seen + place] else source.read(index),
                labels[source.classes[index]],
                source.describe(index),
            )
            for place, index in enumerate(parts.held_out[:EXAMPLES].tolist())
        ),
        warnings=_warnings(source, order, troubles),
    )


def _decode(source: Source, order: Any, images: Any, stage: Stage) -> list[str]:
    """Fills `images`, one for each index in `order`, and returns what the graph cannot do with each, "" mostly."""
    size = images.shape[1]
    decode = reading.build_graph(size)

    def fill(position: int) -> str | ExportError:
        index = int(order[position])
        try:
            file = source.read(index)
        except ExportError as error:
            return error
        try:
            images[position], trouble = reading.read(file, size, decode)
        except ExportError as error:
            return ExportError(f"{source.describe(index)}: {error}")
        return trouble

    troubles: list[str] = []
    bad: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for position, outcome in enumerate(pool.map(fill, range(len(order)))):
                stage.advance(position + 1, len(order))
                if isinstance(outcome, ExportError):
                    bad.append(str(outcome))
                else:
                    troubles.append(outcome)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if bad:
        listed = "".join(f"\n  {line}" for line in sorted(bad))
        raise ExportError(f"{len(bad)} of {len(order)} images cannot be used; mend or remove them:{listed}")
    return troubles


def _warnings(source: Source, order: Any, troubles: list[str]) -> tuple[str, ...]:
    """One line a reason, with the first file that it holds for."""
    lines = [f"not read: {describe_counts(source.passed_over)}"] if source.passed_over else []
    for trouble in sorted({each for each in troubles if each}):
        concerned = [int(index) for index, each in zip(order, troubles, strict=True) if each == trouble]
        lines.append(f"{len(concerned)} of {len(order)} images {trouble} (first: {source.describe(min(concerned))})")
    return tuple(lines)
