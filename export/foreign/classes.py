"""A folder's classes and those of a network that learnt elsewhere, brought together by name."""

from dataclasses import replace
from typing import Any

import numpy as np

from export.data.dataset import Dataset, Split
from export.data.names import escape
from export.errors import ExportError

_SHOWN = 3


def renumber(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """`dataset` with the classes numbered as in a network's `labels`, of which it need not show all.

    Raises ExportError, naming them, where the network has no such classes.
    """
    unknown = tuple(label for label in dataset.labels if label not in labels)
    if unknown:
        raise ExportError(
            f"the network has no class {_list(unknown)}, as {escape(dataset.name)} has; its classes are "
            f"{_list(labels)}: rename the folders, or name the classes with --labels FILE"
        )
    numbers = np.array([labels.index(label) for label in dataset.labels], np.int32)

    def move(split: Split) -> Split:
        classes: Any = numbers[np.asarray(split.classes)]
        return replace(split, classes=classes)

    return replace(
        dataset,
        labels=labels,
        train=move(dataset.train),
        validation=move(dataset.validation),
        held_out=move(dataset.held_out),
    )


def _list(labels: tuple[str, ...]) -> str:
    return ", ".join(map(repr, labels[:_SHOWN])) + (f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else "")
