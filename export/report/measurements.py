"""Everything that a report says which the export does not know anyway, measured on what is published."""

import io
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.convert.litert import LiteModel
from export.convert.signatures import IMAGE, PROBABILITIES
from export.data import pixels
from export.data.dataset import Dataset, Split
from export.plurals import format_items
from export.progress import Stage
from export.report import calibration, classification, features
from export.report.calibration import Calibration, Temperature
from export.report.classification import Classification
from export.verify.readback import Readback
from service.repository.calibration import scale
from service.repository.manifest import TFLITE

MOST = 5_000
"""Held-out images that are asked: classes take turns in them, so the first few show all."""

_PICTURES = 12
_PICTURE_SIZE = 160
_FEWEST_MAPPED = 10


@dataclass(frozen=True, slots=True)
class Mistake:
    """Held-out image number `image` shows `label`; the model says `answer`. `picture` is a small PNG file of it."""

    image: int
    label: str
    answer: str
    probability: float
    picture: bytes


@dataclass(frozen=True, slots=True)
class Map:
    """The same images, seen through one network, on a plane: float64 [N, 2], from 0 to 1."""

    method: str
    adapted: bool
    places: Any


@dataclass(frozen=True, slots=True)
class Measurements:
    """`scaled` is the calibration with the temperature applied, where there is one; `mapped` is int [N], the classes of
    the images on `maps`; `unmapped` says why a map is missing, "" where none is.
    """

    classification: Classification
    temperature: Temperature
    answered: Calibration
    scaled: Calibration | None
    mistakes: tuple[Mistake, ...]
    maps: tuple[Map, ...]
    mapped: Any
    unmapped: str
    seconds: float


def measure(
    folder: Path,
    from_lite: bool,
    model: Any,
    architecture: Architecture,
    dataset: Dataset,
    before: Any | None,
    methods: tuple[str, ...],
    stage: Stage,
) -> Measurements:
    """Asks the staged version in `folder`: its `model.tflite` if `from_lite`, else its SavedModel.

    `model` is the trained network, None where its layers cannot be had, and `before` what `features.extract` made of it
    ahead of training.
    """
    started = time.monotonic()
    held_out, labels = dataset.held_out, dataset.labels
    ask = _open(folder, from_lite)
    probabilities = _ask(ask, held_out, stage)
    classes = np.asarray(held_out.classes[: len(probabilities)])
    validation = _ask(ask, dataset.validation, stage)
    temperature = calibration.fit_temperature(validation, np.asarray(dataset.validation.classes[: len(validation)]))
    scaled = None
    if temperature.value is not None:
        scaled = calibration.measure(scale(probabilities, temperature.value), classes)
    after = None if model is None else features.extract(model, architecture, held_out)
    maps, unmapped = _map(before, after, methods)
    return Measurements(
        classification=classification.measure(probabilities, classes, labels),
        temperature=temperature,
        answered=calibration.measure(probabilities, classes),
        scaled=scaled,
        mistakes=find_mistakes(probabilities, held_out.images, classes, labels),
        maps=maps,
        mapped=classes[: len(maps[0].places)] if maps else classes[:0],
        unmapped=unmapped,
        seconds=time.monotonic() - started,
    )


def _open(folder: Path, from_lite: bool) -> Any:
    if from_lite:
        lite = LiteModel(folder / TFLITE, os.cpu_count() or 1)
        return lambda rows: lite.run(IMAGE, rows)[PROBABILITIES]
    staged = Readback(folder)
    return lambda rows: staged.saved_model(IMAGE, rows)[PROBABILITIES]


def _ask(ask: Any, split: Split, stage: Stage) -> Any:
    """Probabilities of the first MOST images, float32 [N, C]."""
    count = min(len(split.classes), MOST)
    answers = []
    most = pixels.choose_batch(split.images.shape[1]) if count else 1
    for start in range(0, count, most):
        answers.append(ask(np.asarray(split.images[start : min(start + most, count)])))
        stage.advance(min(start + most, count), count, "images")
    return np.concatenate(answers) if answers else np.zeros((0, 1), np.float32)


def _map(before: Any | None, after: Any | None, methods: tuple[str, ...]) -> tuple[tuple[Map, ...], str]:
    if after is None:
        return (), "its last layer cannot be told apart, so that there are no features ahead of it"
    if len(after) < _FEWEST_MAPPED:
        return (), f"too few to be mapped: {format_items(len(after), 'held-out image')}"
    networks = [(before, False)] if before is not None and not np.array_equal(before, after) else []
    networks.append((after, True))
    return tuple(
        Map(method, adapted, features.project(found, method)) for found, adapted in networks for method in methods
    ), ""


def find_mistakes(probabilities: Any, images: Any, classes: Any, labels: tuple[str, ...]) -> tuple[Mistake, ...]:
    """Those that the model is most sure of, these first: of float [N, C], uint8 [N or more, H, W, 3] and int [N]."""
    answers, sure = probabilities.argmax(-1), probabilities.max(-1)
    wrong = np.flatnonzero(answers != classes)
    return tuple(
        Mistake(
            image=int(place),
            label=labels[int(classes[place])],
            answer=labels[int(answers[place])],
            probability=float(sure[place]),
            picture=_picture(images[place]),
        )
        for place in wrong[np.argsort(-sure[wrong], kind="stable")][:_PICTURES]
    )


def _picture(image_pixels: Any) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.asarray(image_pixels))
    image.thumbnail((_PICTURE_SIZE, _PICTURE_SIZE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
