"""How good and how fast a candidate is: accuracy on held-out images, time on this machine."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.convert.litert import LiteModel
from export.convert.signatures import IMAGE, PROBABILITIES
from export.data.dataset import Dataset
from export.training.train import average_by_class

BATCHES = (1, 8)
"""Batch sizes every candidate is timed at: a lone request, and as many as the service runs together."""

_ROUNDS = 5
_ROUND_SECONDS = 0.1
_EVALUATION_BATCH = 8


@dataclass(frozen=True, slots=True)
class Quality:
    """What a candidate makes of the held-out images. `agreement` is the share where its first label is float32's.

    `accuracy` is None, and `by_class` empty, where nobody knows what the images show. `refused` says why a candidate
    like that may not be published; "" where it may.
    """

    accuracy: float | None
    by_class: Mapping[str, float]
    agreement: float
    refused: str

    @property
    def worst(self) -> str:
        """The class of which most is wrong; "" where nobody knows."""
        return min(self.by_class, key=lambda label: self.by_class[label], default="")


class Judge:
    """Holds every candidate of one network against its float32 form."""

    def __init__(self, wanted: Any, dataset: Dataset, most_drop: float) -> None:
        """`wanted` are float32's probabilities, [N, C], of the held-out images; `most_drop` is by how much a
        candidate's accuracy may be below its, as a share of images. Where nobody knows what the images show, it is
        for how many of them a candidate may name another class than float32.
        """
        self._held_out, self._labels, self._most_drop = dataset.held_out, dataset.labels, most_drop
        self._wanted = wanted.argmax(-1)
        self._labelled = bool((dataset.held_out.classes >= 0).all())
        self._accuracy = float((self._wanted == dataset.held_out.classes).mean())

    @property
    def remedy(self) -> str:
        """What lets more candidates pass."""
        if self._labelled:
            return f"give a larger --max-accuracy-drop than {self._most_drop:g}"
        return f"give a smaller --min-agreement than {1 - self._most_drop:g}"

    def quality(self, given: Any) -> Quality:
        """Of a candidate by its probabilities, shaped as `wanted`."""
        split = self._held_out
        first = given.argmax(-1)
        agreement = float((first == self._wanted).mean())
        if not self._labelled:
            least = 1 - self._most_drop
            refused = f"agrees with float32 on {agreement:.4f} of the images (at least {least:g})"
            return Quality(None, {}, agreement, self._refuse(given, refused if agreement < least else ""))
        right = first == split.classes
        drop = self._accuracy - float(right.mean())
        refused = f"loses {drop:.4f} of float32's accuracy (at most {self._most_drop:g})"
        return Quality(
            accuracy=float(right.mean()),
            by_class=average_by_class(right, split.classes, self._labels),
            agreement=agreement,
            refused=self._refuse(given, refused if drop > self._most_drop else ""),
        )

    def _refuse(self, given: Any, otherwise: str) -> str:
        return otherwise if np.isfinite(given).all() else "answers NaN"


def answers(data: bytes, images: Any) -> Any:
    """Probabilities, float32 [N, C], of `images`, uint8 [N, H, W, 3]."""
    model = LiteModel(data, os.cpu_count() or 1)
    starts = range(0, len(images), _EVALUATION_BATCH)
    return np.concatenate(
        [model.run(IMAGE, np.asarray(images[start : start + _EVALUATION_BATCH]))[PROBABILITIES] for start in starts]
    )


def milliseconds(files: Sequence[bytes], images: Any) -> list[dict[int, float]]:
    """For every file: batch size -> milliseconds an image, on one thread, as the service runs them.

    They take turns, so that a machine that slows down slows down for all; medians of `_ROUNDS` rounds.
    """
    models = [LiteModel(data, threads=1) for data in files]
    taken: list[dict[int, list[float]]] = [{size: [] for size in BATCHES} for _ in files]
    for _ in range(_ROUNDS):
        for model, kept in zip(models, taken, strict=True):
            for size in BATCHES:
                rows = np.resize(images, (size, *images.shape[1:]))
                kept[size].append(model.seconds(IMAGE, rows, _ROUND_SECONDS) / size * 1000)
    return [{size: float(np.median(values)) for size, values in kept.items()} for kept in taken]
