"""The index of training images that travels beside a model: /similar answers from it, and `known`."""

from pathlib import Path
from typing import Any

import numpy as np

from export.convert.litert import LiteModel
from export.convert.signatures import IMAGE
from export.data.dataset import Dataset, Split
from export.progress import Stage
from service.plurals import format_items
from service.repository.image_index import IMAGE_INDEX, ImageIndex, normalize
from service.repository.manifest import FEATURES

ACCEPTANCE = 0.95
"""Share of the validation images that count as known."""

MOST_BYTES = 16 * 10**6
"""Of features: 1,000 rows of 4,096 numbers, as VGG has."""

_BATCH = 8
_MOST_CHECKED = 1000  # validation images
_FEWEST = 20
"""Validation images: of fewer, no one in twenty can be told."""


def write(folder: Path, dataset: Dataset, lite: LiteModel, width: int, most: int, stage: Stage) -> float | None:
    """Writes the index of a staged version: `most` training images, spread evenly, or what MOST_BYTES hold.

    They run through the engine that answers on CPUs, in the precision that is published. Returns the similarity to the
    nearest of them from which ACCEPTANCE of the validation images are; None where those are too few.
    """
    most = min(most, max(1, MOST_BYTES // (4 * width)))
    rows = _spread(dataset.train, most)
    checked = _spread(dataset.validation, _MOST_CHECKED)
    total = len(rows) + len(checked)
    embeddings = _embed(dataset.train, rows, lite, stage, 0, total)
    classes = np.asarray(dataset.train.classes)[rows].astype(np.int32)
    index = ImageIndex(
        embeddings,
        classes,
        tuple(_shorten(dataset.describe_row(row)) for row in rows.tolist()),
    )
    index.write(folder)
    size = (folder / IMAGE_INDEX).stat().st_size
    stage.result = f"{len(rows):,} of {format_items(len(dataset.train.classes), 'image')}, {size / 1e6:.1f} MB"
    if len(checked) < _FEWEST:
        stage.tell(f"no threshold for `known`: {format_items(len(checked), 'validation image')}, fewer than {_FEWEST}")
        return None
    familiar = index.measure_familiarity(_embed(dataset.validation, checked, lite, stage, len(rows), total))
    threshold = float(np.quantile(familiar, 1 - ACCEPTANCE))
    if threshold <= 0:  # nothing is near anything
        return None
    stage.result += f"; known images are those with a similarity of {threshold:.3f} or more"
    return threshold


def _spread(split: Split, count: int) -> Any:
    """Up to `count` rows of `split`, evenly spread over it (it lies class by class)."""
    return np.linspace(0, len(split.classes) - 1, min(count, len(split.classes))).astype(int)


def _embed(split: Split, rows: Any, lite: LiteModel, stage: Stage, done: int, total: int) -> Any:
    found = []
    for start in range(0, len(rows), _BATCH):
        images = np.asarray(split.images[rows[start : start + _BATCH]])
        found.append(lite.run(IMAGE, images)[FEATURES])
        stage.advance(done + min(start + _BATCH, len(rows)), total, "images' features")
    return normalize(np.concatenate(found))


def _shorten(name: str) -> str:
    """A path's class folder and file: where the rest lay is the exporter's business."""
    return "/".join(Path(name).parts[-2:])
