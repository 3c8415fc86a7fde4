"""Whether a loaded version still answers as it did at export: a few questions, and how far answers may be apart."""

from collections.abc import Mapping

import numpy as np

from service.backends.base import Golden
from service.repository.manifest import PROBABILITIES, Manifest
from service.types import Array

# Of a probability. Processors round differently, int8 in whole steps; a wrong model is far off.
TOLERANCE = 0.01
TOLERANCE_ROUNDED = 0.1

BFLOAT16 = "bfloat16"
INT8 = "int8"
_FLOAT = ("", "float32", "float16")
_ROUNDED = (BFLOAT16, INT8)


def find_mismatch(golden: Golden, answers: Mapping[str, Array], manifest: Manifest, precision: str = "") -> str:
    """What is wrong with `answers`, the outputs by alias for `golden.inputs`; empty where they are right.

    `precision` is what was computed in, where that is not the exported version's own. In bfloat16 and int8 a float32
    version's answers may be TOLERANCE_ROUNDED apart, and the most probable class stays where it leads by more.
    """
    exact = manifest.precision in _FLOAT
    tolerance = TOLERANCE if exact and precision not in _ROUNDED else TOLERANCE_ROUNDED
    for alias, expected in golden.outputs.items():
        difference = float(np.abs(answers[alias] - expected).max())
        if not difference <= tolerance:  # NaN is a failure too
            return f"{alias!r} differs by {difference:.3g} (tolerance {tolerance})"
        if exact and precision in _ROUNDED and alias == PROBABILITIES:
            changed = _find_leaders(expected, tolerance) & (answers[alias].argmax(-1) != expected.argmax(-1))
            if changed.any():
                return f"{int(changed.sum())} of {len(expected)} images get another class"
    return ""


def find_deviation(expected: Mapping[str, Array], answers: Mapping[str, Array], precision: str = "") -> str:
    """What is wrong with another engine's `answers` to random inputs; empty where they are right.

    Numbers may differ by TOLERANCE of the output's largest, in bfloat16 by TOLERANCE_ROUNDED; all else is equal.
    """
    tolerance = TOLERANCE_ROUNDED if precision == BFLOAT16 else TOLERANCE
    for alias, wanted in expected.items():
        found = answers[alias]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            return f"{alias!r} is {found.dtype} {list(found.shape)}, not {wanted.dtype} {list(wanted.shape)}"
        if wanted.dtype.kind != "f":
            if not np.array_equal(found, wanted):
                return f"{alias!r} differs"
        elif wanted.size:
            difference, most = float(np.abs(found - wanted).max()), float(np.abs(wanted).max())
            if not difference <= tolerance * most:  # NaN is a failure too
                return f"{alias!r} differs by {difference:.3g} (tolerance {tolerance} of {most:.3g})"
    return ""


def _find_leaders(probabilities: Array, margin: float) -> Array:
    """Rows of [N, classes] whose most probable class leads by more than `margin`, bool [N]."""
    if probabilities.shape[-1] < 2:
        return np.zeros(len(probabilities), bool)
    second, first = np.partition(probabilities, -2, axis=-1)[:, -2:].T
    return np.asarray(first - second > margin)
