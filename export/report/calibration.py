"""Whether a probability of 0.8 is right in 80 of 100 cases, and the temperature that makes it so.

Temperature scaling divides logits by one number T: probabilities become `softmax(log(p) / T)`. No answer changes, only
how sure it is. T minimizes the negative log likelihood of images that trained nothing (Guo et al.: On Calibration of
Modern Neural Networks, arXiv:1706.04599).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.plurals import format_items
from service.repository.calibration import scale

BINS = 10
FEWEST = 30
"""Images below which no temperature is fitted."""

_SMALLEST = 1e-12
_RANGE = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose most probable class has a probability in one tenth from 0 to 1: how sure the model is of them on
    average, and the share that is right.
    """

    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """`error` is the expected calibration error, the mean distance between confidence and accuracy over all images;
    `loss` is the mean negative log likelihood, in nats. Bins without images are left out.
    """

    error: float
    loss: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Temperature:
    """`value` is None where none can be fitted; `reason` then says why."""

    value: float | None
    reason: str = ""


def fit_temperature(probabilities: Any, classes: Any) -> Temperature:
    """From answers to images that trained nothing: float32 [N, C] and int [N]."""
    from scipy.optimize import minimize_scalar

    if len(classes) < FEWEST:
        return Temperature(
            None, f"too few to fit one: {format_items(len(classes), 'validation image')}, {FEWEST} are needed"
        )
    if (probabilities.argmax(-1) == classes).all():
        return Temperature(None, "every validation image is right, so that no finite temperature fits best")
    low, high = np.log(_RANGE)
    found = minimize_scalar(
        lambda power: _loss(scale(probabilities, float(np.exp(power))), classes), bounds=(low, high), method="bounded"
    )
    value = float(np.exp(found.x))
    if not (_RANGE[0] * 1.01 < value < _RANGE[1] / 1.01):
        return Temperature(None, f"the best one lies outside of {_RANGE[0]:g} to {_RANGE[1]:g}")
    return Temperature(value)


def measure(probabilities: Any, classes: Any) -> Calibration:
    """On float [N, C] and int [N]."""
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == classes
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = tuple(
        Bin(int(chosen.sum()), float(confidence[chosen].mean()), float(right[chosen].mean()))
        for chosen in (places == place for place in range(BINS))
        if chosen.any()
    )
    error = sum(each.images * abs(each.confidence - each.accuracy) for each in bins) / len(classes)
    return Calibration(error, _loss(probabilities, classes), bins)


def _loss(probabilities: Any, classes: Any) -> float:
    chosen = probabilities[np.arange(len(classes)), classes]
    return float(-np.log(np.maximum(chosen, _SMALLEST)).mean())
