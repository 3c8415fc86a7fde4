"""Everything that a report says which the export does not know anyway, measured on what is published."""

import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.data.dataset import Dataset
from export.progress import Stage
from export.report import calibration, classification, features
from export.report.calibration import Calibration, Temperature
from export.report.classification import Classification
from export.verify.answers import MOST, Answers, Run, compute
from export.verify.parity import FEATURES_TOLERANCE
from service.plurals import format_items
from service.repository.calibration import scale

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
    answers: Answers,
    run: Run,
    dataset: Dataset,
    before: Any | None,
    after: Any | None,
    methods: tuple[str, ...],
    stage: Stage,
) -> Measurements:
    """`answers` are those of the published form, which is `run`, to the held-out images; `before` and `after` are
    features of these from before the training and after it, float32 [n, D], None where there are none.
    """
    started = time.monotonic()
    held_out, labels, probabilities = dataset.held_out, dataset.labels, answers.probabilities
    classes = np.asarray(held_out.classes[: len(probabilities)])
    validation = compute(run, dataset.validation, stage, MOST)
    known = np.asarray(dataset.validation.classes[: len(validation.classes)])
    temperature = calibration.fit_temperature(validation.probabilities, known)
    scaled = None
    if temperature.value is not None:
        scaled = calibration.measure(scale(probabilities, temperature.value), classes)
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


def _map(before: Any | None, after: Any | None, methods: tuple[str, ...]) -> tuple[tuple[Map, ...], str]:
    if after is None:
        return (), "its last layer cannot be told apart, so that there are no features ahead of it"
    if len(after) < _FEWEST_MAPPED:
        return (), f"too few to be mapped: {format_items(len(after), 'held-out image')}"
    networks = [(before, False)] if before is not None and not _are_same(before, after) else []
    networks.append((after, True))
    return tuple(
        Map(method, adapted, features.project(found, method)) for found, adapted in networks for method in methods
    ), ""


def _are_same(before: Any, after: Any) -> bool:
    """Whether features differ by no more than two engines do: those of a network whose last layer alone learnt."""
    return before.shape == after.shape and bool(
        np.abs(before - after).max() <= FEATURES_TOLERANCE * np.abs(after).max()
    )


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
