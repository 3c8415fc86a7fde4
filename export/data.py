"""A source's images, split and decoded to a network's size."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from export import pixels
from export.errors import ExportError
from export.progress import Stage
from export.sources import Source

HELD_OUT = 0.2
EXAMPLES = 16

# The split belongs to the dataset, not to a training run: exports with other seeds stay comparable.
_SPLIT_SEED = 20


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
    """`examples` are the first rows of `held_out`, classes taking turns, at most EXAMPLES."""

    name: str
    labels: tuple[str, ...]
    train: Split
    held_out: Split
    examples: tuple[Example, ...]


def load(source: Source, size: int, stage: Stage) -> Dataset:
    """Decodes every image to [size, size] once. Raises ExportError naming the first unreadable one.

    Pixels lie in an unnamed scratch file (in TMPDIR) that the system pages, so a folder may exceed memory.
    """
    train, held_out = split(source.classes)
    order = np.concatenate([train, held_out])
    scratch = tempfile.TemporaryFile()  # noqa: SIM115 - the map below keeps it for as long as it is used
    try:
        images = np.memmap(scratch, np.uint8, "w+", shape=(len(order), size, size, 3))
    except OSError as error:
        raise ExportError(
            f"{len(order)} images at {size}x{size} do not fit in {tempfile.gettempdir()}: {error.strerror}; "
            "set TMPDIR to a larger disk"
        ) from error
    _decode(source, order, images, stage)
    labels, count = source.labels, len(train)
    return Dataset(
        name=source.name,
        labels=labels,
        train=Split(images[:count], source.classes[train]),
        held_out=Split(images[count:], source.classes[held_out]),
        examples=tuple(
            Example(source.read(index), labels[source.classes[index]], source.describe(index))
            for index in held_out[:EXAMPLES].tolist()
        ),
    )


def split(classes: Any) -> tuple[Any, Any]:
    """Indices of training and held-out images, int64 each: a fifth of every class held out, always the same.

    Held-out indices take turns through the classes, so that the first few show as many as they can.
    """
    generator = np.random.default_rng(_SPLIT_SEED)
    train: list[int] = []
    turns: list[tuple[int, int, int]] = []
    for label in np.unique(classes):
        members = generator.permutation(np.flatnonzero(classes == label))
        count = max(1, round(len(members) * HELD_OUT))
        turns += [(turn, int(label), int(index)) for turn, index in enumerate(members[:count])]
        train += [int(index) for index in members[count:]]
    return np.array(sorted(train), np.int64), np.array([index for _, _, index in sorted(turns)], np.int64)


def _decode(source: Source, order: Any, images: Any, stage: Stage) -> None:
    import tensorflow as tf

    decode = tf.function(
        lambda data: pixels.decode(data, images.shape[1]), input_signature=[tf.TensorSpec([], tf.string)]
    )

    def fill(position: int) -> None:
        index = int(order[position])
        try:
            images[position] = decode(source.read(index)).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise ExportError(
                f"{source.describe(index)} is not a readable JPEG or PNG image; mend or remove it"
            ) from error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for done, _ in enumerate(pool.map(fill, range(len(order))), 1):
                stage.advance(done, len(order))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
