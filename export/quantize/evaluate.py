"""How good and how fast a candidate is: accuracy on held-out images, time on this machine."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.convert.litert import LiteModel
from export.convert.signatures import IMAGE, PROBABILITIES
from export.data import mapped
from export.data.dataset import Dataset
from export.quantize.sequential_test import SequentialTest
from export.training.train import average_by_class
from export.verify.answers import MOST, Answers
from service.plurals import format_items

if TYPE_CHECKING:
    from export.quantize.candidates import Candidate

BATCHES = (1, 8)
"""Batch sizes every candidate is timed at: a lone request, and as many as the service runs together."""

_ROUND_SECONDS = 0.1
_EVALUATION_BATCH = 8
_SEED = 15

Ask = Callable[[Any], Any]
"""Probabilities, float32 [n, C], of images, uint8 [n, H, W, 3]."""

Explain = Callable[[Any], str]
"""Why the answers to images, uint8 [n, H, W, 3], are not numbers; "" where that cannot be known."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What a candidate makes of `images` of the held-out images: as many as decided, all of them for what is published.

    `agreement` is the share where its first label is float32's. `accuracy` is None, and `by_class` empty, where nobody
    knows what the images show. `refused` says why a candidate like that may not be published; "" where it may.
    `answers` are kept where all images were examined, and people say what they show.
    """

    accuracy: float | None
    by_class: Mapping[str, float]
    agreement: float
    refused: str
    images: int
    answers: Answers | None = field(default=None, repr=False, compare=False)

    @property
    def worst(self) -> str:
        """The class of which most is wrong; "" where nobody knows."""
        return min(self.by_class, key=lambda label: self.by_class[label], default="")


class Judge:
    """Holds every candidate of one network against its float32 form, image by image, in an order drawn once.

    Owns the answers: each form is asked about an image once at most.
    """

    def __init__(self, dataset: Dataset, most_drop: float, ask_float32: Ask, reference: Answers | None = None) -> None:
        """`most_drop` is by how much a candidate's accuracy may be below float32's, as a share of images. Where nobody
        knows what the images show, it is for how many of them a candidate may name another class than float32.
        `reference` is what float32 answers to the held-out images, where that is known already.
        """
        self._held_out, self._labels, self._most_drop = dataset.held_out, dataset.labels, most_drop
        self._count = len(dataset.held_out.classes)
        self._labelled = bool((dataset.held_out.classes >= 0).all())
        self._order = np.random.default_rng(_SEED).permutation(self._count)
        self._ask_float32 = ask_float32
        self._reference = reference
        self._wanted = np.full(self._count, -1) if reference is None else reference.classes
        self._given: dict[str, _Given] = {}

    @property
    def remedy(self) -> str:
        """What lets more candidates pass."""
        if self._labelled:
            return f"give a larger --max-accuracy-drop than {self._most_drop:g}"
        return f"give a smaller --min-agreement than {1 - self._most_drop:g}"

    def examine_float32(self) -> Quality:
        """Of float32 itself: all images where they are labelled, else none."""
        if self._labelled:
            for start in range(0, self._count, _EVALUATION_BATCH):
                self._find_wanted(self._order[start : start + _EVALUATION_BATCH])
        rows = self._order if self._labelled else self._order[:0]
        return self._describe(_Given(self._wanted), rows, "", self._reference)

    def examine(self, name: str, ask: Ask, explain: Explain, whole: bool = False, most: int | None = None) -> Quality:
        """Of the candidate `name`, on as many images as decide whether its losses are within the budget.

        What is within it is examined on the `whole` of them if asked for; `most` ends it undecided after so many, not
        refused. Goes on where an earlier call of the same name has stopped.
        """
        given = self._given.setdefault(name, _Given(np.full(self._count, -1)))
        budget = int(np.floor(self._most_drop * self._count + 1e-9))
        test = SequentialTest(self._count, budget, gains=self._labelled)
        kept: bool | None = None
        for start in range(0, self._count if most is None else min(self._count, most), _EVALUATION_BATCH):
            rows = self._order[start : start + _EVALUATION_BATCH]
            if (given.classes[rows] < 0).any():
                images = mapped.read_rows(self._held_out.images, rows)
                answers = ask(images)
                if not np.isfinite(answers).all():
                    why = explain(images)
                    return self._describe(given, self._order[:start], f"answers NaN{why and f': {why}'}")
                given.keep(rows, answers, self._labelled)
            test.add(*self._compare(given, rows))
            kept = test.decide()
            if kept is False or (kept and not whole):
                break
        rows = self._order[: test.seen]
        refused = ""
        if kept is False:
            refused, given.probabilities = self._describe_losses(given, rows), None
        return self._describe(given, rows, refused, given.join() if test.seen == self._count else None)

    def _compare(self, given: "_Given", rows: Any) -> tuple[Any, Any]:
        """Which of these rows are lost, and which gained: bool [n] each."""
        wanted, classes = self._find_wanted(rows), self._held_out.classes[rows]
        answers = given.classes[rows]
        if not self._labelled:
            lost = answers != wanted
            return lost, np.zeros_like(lost)
        before, after = wanted == classes, answers == classes
        return before & ~after, after & ~before

    def _find_wanted(self, rows: Any) -> Any:
        missing = rows[self._wanted[rows] < 0]
        if len(missing):
            answers = self._ask_float32(mapped.read_rows(self._held_out.images, missing))
            self._wanted[missing] = answers.argmax(-1)
        return self._wanted[rows]

    def _describe_losses(self, given: "_Given", rows: Any) -> str:
        on = "the images" if len(rows) == self._count else format_items(len(rows), "image")
        if not self._labelled:
            agreement = float((given.classes[rows] == self._wanted[rows]).mean())
            return f"agrees with float32 on {agreement:.4f} of {on} (at least {1 - self._most_drop:g})"
        lost, gained = self._compare(given, rows)
        drop = float(lost.mean() - gained.mean())
        where = "" if len(rows) == self._count else f" on {on}"
        return f"loses {drop:.4f} of float32's accuracy{where} (at most {self._most_drop:g})"

    def _describe(self, given: "_Given", rows: Any, refused: str, answers: Answers | None = None) -> Quality:
        classes = self._held_out.classes[rows]
        right = given.classes[rows] == classes
        counted = self._labelled and len(rows) > 0
        return Quality(
            accuracy=float(right.mean()) if counted else None,
            by_class=average_by_class(right, classes, self._labels) if counted else {},
            agreement=float((given.classes[rows] == self._wanted[rows]).mean()) if len(rows) else float(not refused),
            refused=refused,
            images=len(rows),
            answers=answers,
        )


@dataclass(slots=True)
class _Given:
    """What one candidate has answered so far: classes, int [N], -1 where it was not asked, and perhaps probabilities,
    float32 [min(N, MOST), C].
    """

    classes: Any
    probabilities: Any | None = None

    def keep(self, rows: Any, answers: Any, probabilities: bool) -> None:
        """Answers to these rows, float32 [n, C], and whether more is kept of them than the class."""
        self.classes[rows] = answers.argmax(-1)
        if probabilities and self.probabilities is None:
            self.probabilities = np.zeros((min(len(self.classes), MOST), answers.shape[-1]), np.float32)
        if self.probabilities is not None:
            self.probabilities[rows[rows < MOST]] = answers[rows < MOST]

    def join(self) -> Answers | None:
        return None if self.probabilities is None else Answers(self.classes, self.probabilities)


def answers(model: bytes | Path, images: Any) -> Any:
    """Probabilities, float32 [N, C], of `images`, uint8 [N, H, W, 3]."""
    ask = open_model(model)
    starts = range(0, len(images), _EVALUATION_BATCH)
    return np.concatenate([ask(np.asarray(images[start : start + _EVALUATION_BATCH])) for start in starts])


def open_model(model: bytes | Path) -> Ask:
    """A `.tflite` file, run on all processors."""
    lite = LiteModel(model, os.cpu_count() or 1)
    return lambda images: lite.run(IMAGE, images)[PROBABILITIES]


def time_round(candidates: "Sequence[Candidate]", images: Any) -> None:
    """Adds a round of times to each of them, on one thread, as the service runs them.

    They take turns, so that a machine that slows down slows down for all, and each is loaded for its turn only.
    """
    for candidate in candidates:
        model = LiteModel(candidate.file, threads=1)
        taken = {}
        for size in BATCHES:
            rows = np.resize(images, (size, *images.shape[1:]))
            taken[size] = model.seconds(IMAGE, rows, _ROUND_SECONDS) / size * 1000
        candidate.rounds.append(taken)
