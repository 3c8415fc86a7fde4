"""Which images train, which choose among trainings, and which are held out to measure the result."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from export.errors import UsageError
from service.plurals import format_items

HELD_OUT_SHARE = 0.2
"""Share of every class that is held out."""

VALIDATION_SHARE = 0.1
"""Share of the other images that choose: when training stops, and which of its states is kept."""

FEWEST = 5
"""Images that a class needs, so that a fifth of them can be held out."""

TRAIN, VALIDATION, HELD_OUT = 0, 1, 2
PARTS: Mapping[str, int] = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": HELD_OUT,
    "testing": HELD_OUT,
    "held_out": HELD_OUT,
}
"""What people call them."""

# The partition belongs to the dataset, not to a training run: exports with other seeds stay comparable.
_SEED = 20


@dataclass(frozen=True, slots=True)
class Partition:
    """Indices of images, int64 each, no index twice. `train` and `validation` are sorted.

    The indices of `held_out` take turns through the classes, so that the first few show as many as they can.
    """

    train: Any
    validation: Any
    held_out: Any

    @property
    def order(self) -> Any:
        """All indices: training, validation, held out."""
        import numpy as np

        return np.concatenate([self.train, self.validation, self.held_out])

    def leave_out(self, indices: Collection[int]) -> "Partition":
        """The same without these."""
        import numpy as np

        left_out = np.array(sorted(indices), np.int64)
        return Partition(*(each[~np.isin(each, left_out)] for each in (self.train, self.validation, self.held_out)))


def divide(classes: Any, parts: Any = None) -> Partition:
    """Divides images of these `classes`, int32 [N], always in the same way.

    A fifth of every class is held out (at least one image), and a tenth of what is left validates. Classes too small
    for a validation image of their own share one: of four classes with five images each, two give one. At least one
    image validates, and every class keeps a training image where it has three or more.

    `parts` (TRAIN, VALIDATION or HELD_OUT for each image) is kept where somebody has divided them already. What it
    lacks is taken from the training images; where it has only a validation part, that one is held out.
    """
    import numpy as np

    parts = _normalize(classes, parts)
    generator = np.random.default_rng(_SEED)
    train: list[int] = []
    validation: list[int] = np.flatnonzero(parts == VALIDATION).tolist()
    turns: list[tuple[int, int, int]] = []
    chooses, measures = not validation, not (parts == HELD_OUT).any()
    left, given = 0, 0
    for label in np.unique(classes):
        members = generator.permutation(np.flatnonzero((classes == label) & (parts == TRAIN))).tolist()
        if measures:
            count = max(1, round(len(members) * HELD_OUT_SHARE))
            held_out, rest = members[:count], members[count:]
        else:
            held_out, rest = np.flatnonzero((classes == label) & (parts == HELD_OUT)).tolist(), members
        turns += [(turn, int(label), index) for turn, index in enumerate(held_out)]
        count = 0
        if chooses:
            left += len(rest)
            # Rounded over all classes so far, so that the total is a tenth whatever the classes' sizes.
            count = min(max(round(left * VALIDATION_SHARE), 1) - given, max(len(rest) - 1, 0))
            given += count
        validation += rest[len(rest) - count :]
        train += rest[: len(rest) - count]
    held_out_indices = [index for _, _, index in sorted(turns)]
    return Partition(*(np.array(each, np.int64) for each in (sorted(train), sorted(validation), held_out_indices)))


def check_counts(labels: tuple[str, ...], classes: Any, parts: Any = None) -> None:
    """Raises UsageError where a class has too few images to be divided."""
    import numpy as np

    if len(labels) < 2:
        raise UsageError(f"at least two classes are needed, got {len(labels)}")
    given = _normalize(classes, parts)
    divided = (given != TRAIN).any()
    for index, label in enumerate(labels):
        counts = np.bincount(given[classes == index], minlength=3)
        if not divided and counts[TRAIN] < FEWEST:
            raise UsageError(
                f"class {label!r} has {format_items(counts[TRAIN], 'image')}; a class needs at least "
                f"{FEWEST}, a fifth of which are "
                "held out"
            )
        if divided and (counts[TRAIN] < 2 or not counts[HELD_OUT]):
            raise UsageError(
                f"class {label!r} has {format_items(counts[TRAIN], 'image')} to train on and "
                f"{counts[HELD_OUT]} held out; it needs at "
                "least 2 and 1"
            )


def _normalize(classes: Any, parts: Any) -> Any:
    """int8 [N]; validation images are held out where no others are."""
    import numpy as np

    if parts is None:
        return np.zeros(len(classes), np.int8)
    parts = np.asarray(parts, np.int8)
    return parts if (parts == HELD_OUT).any() else np.where(parts == VALIDATION, HELD_OUT, parts)
