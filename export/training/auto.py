"""Which strategy suits given weights and images: by how many there are, and by how much of the network fits them.

The four scenarios of transfer learning: where the images are like those that the weights are from, a new head is
enough for few of them and the last blocks gain from many; where they are not, more of the network has to learn.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.data.augmentation import NONE, PRESETS
from export.data.dataset import Split
from export.errors import ExportError
from export.progress import Stage
from export.training import features
from export.training.options import ALL, FINE_TUNE, FULL, LINEAR_PROBE
from export.training.phases import LARGE, split_head
from service.plurals import format_items

SIMILAR = 0.05
"""By how much of the images the probe has to be better than the network from scratch."""

_IMAGES, _PER_CLASS = 300, 30
_LEARN_SHARE = 2 / 3
_PROBE_STEPS, _PROBE_RATE = 300, 5e-3
_SCRATCH_STEPS, _BATCH = 60, 16
_SECONDS = 30.0
"""For each half of the trial: a network that is slow here is tried on fewer images, and takes fewer steps."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`unfreeze` as the flag has it, None where the strategy has no use for it; `why` is for people."""

    strategy: str
    unfreeze: str | None
    why: str


def decide_at_once(model: Any, known: tuple[Any, ...]) -> Decision | None:
    """The strategy where no trial is needed: none or all of the layers of `model` are `known`; else None."""
    if not known:
        return Decision(FULL, None, "there are no weights to keep, so that all of the network learns from the start")
    if all(layer in known for layer in model.layers if layer.weights):
        return Decision(FULL, None, "the weights fit whole, the last layer too, so that all of it learns on")
    return None


def decide(
    model: Any, known: tuple[Any, ...], architecture: Architecture, split: Split, classes: int, seed: int, stage: Stage
) -> Decision:
    """The strategy for a network whose `known` layers have weights worth keeping, and `split` to train on."""
    per_class = float(np.median(np.bincount(split.classes, minlength=classes)))
    learn, check = _draw(split, seed)
    if len(check.classes) == 0:
        return Decision(LINEAR_PROBE, None, "there are too few images to try anything else")
    probe, learn, check = _try_probe(model, known, architecture, learn, check, stage)
    scratch = _try_scratch(architecture, model, learn, check, stage)
    return choose(per_class, probe, scratch, len(learn.classes), len(check.classes))


def choose(per_class: float, probe: float, scratch: float, learned: int, checked: int) -> Decision:
    """By images a class and by the shares of `checked` images that the probe and the network from scratch got right,
    after they had `learned` from others.
    """
    similar = probe - scratch >= SIMILAR or probe == 1  # where nothing is left to learn, the cheapest way will do
    large = per_class >= LARGE
    strategy, unfreeze = {
        (True, False): (LINEAR_PROBE, None),
        (True, True): (FINE_TUNE, "0.4"),
        (False, False): (FINE_TUNE, "0.6"),
        (False, True): (FINE_TUNE, ALL),
    }[similar, large]
    why = (
        f"{per_class:g} images a class are {'many' if large else 'few'}, and the weights "
        f"{'fit them' if similar else 'do not fit them well'}: in a trial with "
        f"{format_items(learned, 'image')} to learn from, a new "
        f"head on the given weights gets {probe:.2f} of {checked} others right, and the network from scratch "
        f"{scratch:.2f}"
    )
    return Decision(strategy, unfreeze, why)


def _draw(split: Split, seed: int) -> tuple[Split, Split]:
    """A few images of each class to learn from, and others to check with, classes taking turns in both."""
    generator = np.random.default_rng(seed)
    labels = np.unique(split.classes)
    each = max(2, min(_PER_CLASS, math.ceil(_IMAGES / len(labels))))
    learn: list[tuple[int, int]] = []
    check: list[tuple[int, int]] = []
    for label in labels:
        members = generator.permutation(np.flatnonzero(split.classes == label))[:each]
        count = math.ceil(len(members) * _LEARN_SHARE)
        learn += enumerate(members[:count].tolist())
        check += enumerate(members[count:].tolist())
    # Sorted by their turn: whoever has no time for all images has had some of each class.
    rows, others = ([index for _, index in sorted(part)] for part in (learn, check))
    return Split(split.images[rows], split.classes[rows]), Split(split.images[others], split.classes[others])


def _try_probe(
    model: Any, known: tuple[Any, ...], architecture: Architecture, learn: Split, check: Split, stage: Stage
) -> tuple[float, Split, Split]:
    """The share that the probe gets right, and the images that there was time to learn from and to check with."""
    import keras

    head_layers = split_head(model, known)[1]
    before = [layer.get_weights() for layer in head_layers]
    backbone, head = features.cut(model, head_layers)
    began = time.monotonic()
    unseen = features.compute(backbone, architecture, check, stage, began + _SECONDS * (1 - _LEARN_SHARE))
    seen = features.compute(backbone, architecture, learn, stage, began + _SECONDS)
    head.compile(keras.optimizers.Adam(_PROBE_RATE), "sparse_categorical_crossentropy", jit_compile=False)
    steps = math.ceil(len(seen.classes) / _BATCH)
    head.fit(seen.images, seen.classes, batch_size=_BATCH, epochs=max(1, _PROBE_STEPS // steps), verbose=0)
    answers = head.predict(unseen.images, verbose=0).argmax(-1)
    for layer, weights in zip(head_layers, before, strict=True):
        layer.set_weights(weights)
    tried, checked = (
        Split(each.images[:count], each.classes[:count])
        for each, count in ((learn, len(seen.classes)), (check, len(unseen.classes)))
    )
    return float((answers == unseen.classes).mean()), tried, checked


def _try_scratch(architecture: Architecture, model: Any, learn: Split, check: Split, stage: Stage) -> float:
    """Bounded in steps and seconds: what a network has not learned by then, it does not learn from this little."""
    import keras

    from export.training import train

    ends = time.monotonic() + _SECONDS
    size = learn.images.shape[1]
    fresh = architecture.build(architecture.shape(size), int(model.output_shape[-1]))
    for layer in fresh.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, 0.8)
    fresh.compile(
        keras.optimizers.Adam(architecture.recipe.learning_rate), "sparse_categorical_crossentropy", jit_compile=False
    )

    class Bound(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            stage.advance(batch + 1, _SCRATCH_STEPS, "steps of a trial from scratch")
            if time.monotonic() > ends:
                self.model.stop_training = True

    fresh.fit(
        train.batch_images(architecture, learn, _BATCH, 0, int(model.output_shape[-1]), PRESETS[NONE]),
        steps_per_epoch=_SCRATCH_STEPS,
        shuffle=False,
        verbose=0,
        callbacks=[Bound()],
    )
    labels = tuple(map(str, range(int(model.output_shape[-1]))))
    try:
        return train.evaluate(fresh, architecture, check, labels, stage).accuracy
    except ExportError:  # it diverged
        return 0.0
