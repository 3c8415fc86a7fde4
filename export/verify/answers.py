"""What a form of a network answers to images, asked once and kept for all that is measured by it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.convert.litert import LiteModel
from export.convert.signatures import IMAGE, PROBABILITIES
from export.data import mapped, pixels
from export.data.dataset import Split
from export.errors import ExportError
from export.progress import Stage
from export.verify.readback import Outputs, Readback
from service.repository.manifest import FEATURES, TFLITE

MOST = 5_000
"""Images whose probabilities are kept: classes take turns in a split, so the first few show all."""

MOST_FEATURES = 300
"""Images whose features are kept: maps of more take more than proportionally longer."""

DIVERGED = "the network answers NaN or infinity: its training diverged; lower --learning-rate"

Run = Callable[[Any], Outputs]
"""Outputs by alias of images, uint8 [n, H, W, 3]."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers to N images, in their order: classes, int32 [N]; probabilities, float32 [min(N, MOST), C]; features,
    float32 [min(N, MOST_FEATURES), D]. Features are None where the form has none, or where they were not computed.
    """

    classes: Any
    probabilities: Any
    features: Any | None = None


def open_file(folder: Path, from_lite: bool) -> Run:
    """The signature `image` of a version folder: of its `model.tflite` on all processors, else of its SavedModel."""
    if from_lite:
        lite = LiteModel(folder / TFLITE, os.cpu_count() or 1)
        return lambda rows: lite.run(IMAGE, rows)
    staged = Readback(folder)
    return lambda rows: staged.saved_model(IMAGE, rows)


def compute(run: Run, split: Split, stage: Stage, most: int | None = None) -> Answers:
    """Runs all images of `split`, or the first `most`. Raises ExportError where an answer is not finite."""
    count = len(split.classes) if most is None else min(len(split.classes), most)
    classes = np.zeros(count, np.int32)
    probabilities: list[Any] = []
    features: list[Any] = []
    batch = pixels.choose_batch(split.images.shape[1]) if count else 1
    for start in range(0, count, batch):
        rows = slice(start, min(start + batch, count))
        outputs = run(mapped.read_rows(split.images, rows))
        given = outputs[PROBABILITIES]
        if not np.isfinite(given).all():
            raise ExportError(DIVERGED)
        classes[rows] = given.argmax(-1)
        probabilities.append(given[: max(0, MOST - start)])
        if FEATURES in outputs:
            features.append(outputs[FEATURES][: max(0, MOST_FEATURES - start)])
        stage.advance(rows.stop, count, "images")
    return Answers(
        classes,
        np.concatenate(probabilities) if probabilities else np.zeros((0, 1), np.float32),
        np.concatenate(features) if features else None,
    )
