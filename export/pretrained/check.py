"""What can be known of a network that nobody measures: that its weights are whole, and that it looks at the image."""

from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.data import pixels
from export.data.dataset import Dataset
from export.data.names import escape
from export.errors import ExportError
from export.training.weights import Start
from service.plurals import format_items

_AT_ONCE = 2
"""Images: called as it is, a Keras network keeps what every layer made of them until its end."""

_SAME = 1e-3
"""Two answers that differ by less in every probability are one."""


def check_complete(start: Start, weights: str) -> None:
    """Raises ExportError where some layers would stay random."""
    missing = [layer.name for layer in start.model.layers if layer.weights and layer not in start.known]
    if missing:
        raise ExportError(
            f"{escape(weights)} fits all but the last {format_items(len(missing), 'layer')} of {start.model.name}"
            f"{f' ({start.head})' if start.head else ''}, and a network that is published as it is needs all of them; "
            "give --data to train the rest"
        )


def judge(model: Any, architecture: Architecture, dataset: Dataset, force: bool) -> tuple[str, ...]:
    """Warnings, none where the answers to the dataset's examples are numbers and differ from each other.

    Raises ExportError where they are not numbers, and, unless `force`, where they are all one.
    """
    images = np.asarray(dataset.held_out.images[: len(dataset.examples)])
    starts = range(0, len(images), _AT_ONCE)
    batches = [pixels.to_tensor(images[start : start + _AT_ONCE], architecture) for start in starts]
    answers = np.concatenate([model(batch, training=False).numpy() for batch in batches])
    if not np.isfinite(answers).all():
        raise ExportError("refused to publish: the network answers NaN or infinity")
    if np.ptp(answers, axis=0).max() >= _SAME:
        return ()
    found = f"the network gives {len(images)} different images one and the same answer"
    if not force:
        raise ExportError(
            f"refused to publish: {found}; was it trained, and with pixels scaled as this architecture's are? "
            "--force publishes it all the same"
        )
    return (found,)
