"""How well a classifier does on labelled images: accuracy, top five, confusion, and each class by itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np

TOP = 5
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class ByClass:
    """One class. Precision is the share of the answers of this class that are right, recall the share of its images
    that are found, F1 their harmonic mean (each 0 where nothing can be counted), support its number of images.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Classification:
    """`interval` is Wilson's 95 % interval of `accuracy`; `top_5` is None where there are no more than five classes.

    `confusion` is int64 [classes, classes]: rows are what images show, columns what the model answers.
    """

    images: int
    accuracy: float
    interval: tuple[float, float]
    top_5: float | None
    classes: tuple[ByClass, ...]
    confusion: Any


def measure(probabilities: Any, classes: Any, labels: tuple[str, ...]) -> Classification:
    """`probabilities` float32 [N, C], `classes` int [N] of indices into `labels`; every figure is scikit-learn's."""
    from sklearn import metrics

    every = np.arange(len(labels))
    answers = probabilities.argmax(-1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        classes, answers, labels=every, zero_division=0
    )
    right = int((answers == classes).sum())
    top = None
    if len(labels) > TOP:
        top = float(metrics.top_k_accuracy_score(classes, probabilities, k=TOP, labels=every))
    return Classification(
        images=len(classes),
        accuracy=right / len(classes),
        interval=bound_share(right, len(classes)),
        top_5=top,
        classes=tuple(
            ByClass(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, label in enumerate(labels)
        ),
        confusion=metrics.confusion_matrix(classes, answers, labels=every),
    )


def bound_share(count: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share that was seen `count` times in `trials`."""
    from scipy.stats import binomtest

    found = binomtest(count, trials).proportion_ci(_CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)
