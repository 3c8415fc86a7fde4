"""Whether a network does better than guessing, by what it gets right of the held-out images.

Guessing is answering the most frequent class, always. A network is better where the lower bound of Wilson's 95 %
interval of its accuracy is above that class's share. Where the images are so few that not even a faultless network
would be, being above the share is enough, and a warning says how little that shows.
"""

import math
from typing import Any

import numpy as np

from export.errors import ExportError
from service.plurals import format_items

NOT_SHOWN = "the network is not shown to be better than guessing"
"""How the warning begins that such a network is published with."""

_Z = 1.959964  # 95 %, both sides


def bound_accuracy(accuracy: float, count: int) -> float:
    """The lower end of Wilson's 95 % interval for a share seen in `count` trials."""
    square = _Z**2 / count
    spread = _Z * math.sqrt(accuracy * (1 - accuracy) / count + square / (4 * count))
    return (accuracy + square / 2 - spread) / (1 + square)


def judge(accuracy: float, classes: Any, labels: tuple[str, ...], advice: str, force: bool) -> tuple[str, ...]:
    """Warnings, none where all is well. `classes` are those of the held-out images, int [N].

    Raises ExportError, which ends with `advice`, where the network is no better than guessing, unless `force`.
    """
    shares = np.bincount(classes, minlength=len(labels)) / len(classes)
    guess, count = float(shares.max()), len(classes)
    found = (
        f"{accuracy:.4f} of {format_items(count, 'held-out image')} are right; answering "
        f"{labels[int(shares.argmax())]!r} always gets "
        f"{guess:.4f}"
    )
    few = bound_accuracy(1.0, count) <= guess
    if accuracy > guess if few else bound_accuracy(accuracy, count) > guess:
        return (f"{found}: too few images to show that the network is better than that",) if few else ()
    told = f"{NOT_SHOWN}: {found}"
    if not force:
        raise ExportError(f"refused to publish: {told}; {advice}, or publish it all the same with --force")
    return (told,)
