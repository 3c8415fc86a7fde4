"""Temperature scaling: what makes a version's probabilities mean what they say (Guo et al., arXiv:1706.04599)."""

import numpy as np

from service.types import Array

_SMALLEST = 1e-12
"""Probabilities below it count as this: a quantized network answers 0, whose logarithm is no number."""


def scale(probabilities: Array, temperature: float) -> Array:
    """`softmax(log(p) / temperature)` of float [N, C], as float64."""
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _SMALLEST)) / temperature
    powers: Array = np.exp(logits - logits.max(-1, keepdims=True))
    scaled: Array = powers / powers.sum(-1, keepdims=True)
    return scaled
