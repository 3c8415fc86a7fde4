"""Which images train, which choose among trainings, and which are held out to measure the result."""

from dataclasses import dataclass
from typing import Any

import numpy as np

HELD_OUT = 0.2
"""Share of every class that is held out."""

VALIDATION = 0.1
"""Share of the other images that choose: when training stops, and which of its states is kept."""

# The partition belongs to the dataset, not to a training run: exports with other seeds stay comparable.
_SEED = 20


@dataclass(frozen=True, slots=True)
class Partition:
    """Indices of images, int64 each, no index twice. `train` is sorted.

    The indices of `held_out` take turns through the classes, so that the first few show as many as they can.
    """

    train: Any
    validation: Any
    held_out: Any

    @property
    def order(self) -> Any:
        """All indices: training, validation, held out."""
        return np.concatenate([self.train, self.validation, self.held_out])


def divide(classes: Any) -> Partition:
    """Divides images of these `classes`, int32 [N], always in the same way.

    A fifth of every class is held out (at least one image), and a tenth of what is left validates. Classes too small
    for a validation image of their own share one: of four classes with five images each, two give one. At least one
    image validates, and every class keeps a training image where it has three or more.
    """
    generator = np.random.default_rng(_SEED)
    train: list[int] = []
    validation: list[int] = []
    turns: list[tuple[int, int, int]] = []
    left, given = 0, 0
    for label in np.unique(classes):
        members = generator.permutation(np.flatnonzero(classes == label)).tolist()
        held_out = max(1, round(len(members) * HELD_OUT))
        turns += [(turn, int(label), index) for turn, index in enumerate(members[:held_out])]
        rest = members[held_out:]
        left += len(rest)
        # Rounded over all classes so far, so that the total is a tenth whatever the classes' sizes.
        count = min(max(round(left * VALIDATION), 1) - given, max(len(rest) - 1, 0))
        given += count
        validation += rest[len(rest) - count :]
        train += rest[: len(rest) - count]
    held_out_indices = [index for _, _, index in sorted(turns)]
    return Partition(*(np.array(each, np.int64) for each in (sorted(train), sorted(validation), held_out_indices)))
