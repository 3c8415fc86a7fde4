"""Numbers, labels and texts of a result, as JSON shows them."""

from typing import Any

import numpy as np

from service.repository.manifest import CLASSES
from service.types import PredictResult


def list_labels(result: PredictResult, count: int) -> list[str]:
    """What `count` classes are called; their numbers where nobody knows."""
    if len(result.labels) == count:
        return list(result.labels)
    classes = result.outputs.get(CLASSES)  # an upstream's: the same in every row
    if classes is not None and classes.ndim == 2 and classes.shape[1] == count:
        return [show_text(value) for value in classes[0]]
    return [str(index) for index in range(count)]


def show_number(value: Any) -> float | None:
    """Seven significant digits, all that float32 has; null for what JSON has no number for."""
    return float(f"{value:.7g}") if np.isfinite(value) else None


def show_text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
