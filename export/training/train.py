"""Images as batches to learn from, and finding out how well a network does on images it never saw."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.data import mapped, pixels
from export.data.augmentation import LIGHT, PRESETS, Augmentation, build_augmenter
from export.data.dataset import Split
from export.errors import ExportError
from export.progress import Stage
from export.training.loop import Batches
from export.verify.answers import DIVERGED

_VALIDATION_BATCH = 32


@dataclass(frozen=True, slots=True)
class Score:
    """How a network does on held-out images: the share it gets right, in all and of each class that they show."""

    accuracy: float
    by_class: dict[str, float]

    @property
    def worst(self) -> str:
        return min(self.by_class, key=lambda label: self.by_class[label])


def prepare_batches(
    architecture: Architecture,
    train: Split,
    validation: Split,
    size: int,
    seed: int,
    classes: int,
    augmentation: Augmentation = PRESETS[LIGHT],
) -> Batches:
    """Images as the network takes them: those to learn from shuffled and augmented, those of the validation not."""
    return Batches(
        batch_images(architecture, train, size, seed, classes, augmentation),
        math.ceil(len(train.classes) / size),
        len(train.classes),
        _batch_in_order(architecture, validation),
        len(validation.classes),
    )


def evaluate(model: Any, architecture: Architecture, split: Split, labels: tuple[str, ...], stage: Stage) -> Score:
    """Counts right answers on `split`, batch norms and dropout as in use. Raises ExportError where answers are NaN."""
    import tensorflow as tf

    infer = tf.function(
        lambda images: model(pixels.to_tensor(images, architecture), training=False), reduce_retracing=True
    )
    given, most = np.zeros(len(split.classes), np.int32), pixels.choose_batch(split.images.shape[1])
    for start in range(0, len(given), most):
        rows = slice(start, start + most)
        images = tf.constant(mapped.read_rows(split.images, rows))
        answers = infer(images).numpy()
        if not np.isfinite(answers).all():
            raise ExportError(DIVERGED)
        given[rows] = answers.argmax(-1)
        stage.advance(min(start + most, len(given)), len(given), "held-out images")
    return count_right(given, split, labels)


def count_right(given: Any, split: Split, labels: tuple[str, ...]) -> Score:
    """Of the classes that a network gives the images of `split`, int [N]."""
    right = given == split.classes
    return Score(float(right.mean()), average_by_class(right, split.classes, labels))


def average_by_class(right: Any, classes: Any, labels: tuple[str, ...]) -> dict[str, float]:
    """The share of each class that is right, of those that any image shows: bool [N], int [N]."""
    return {labels[index]: float(right[classes == index].mean()) for index in np.unique(classes).tolist()}


def _batch_in_order(architecture: Architecture, split: Split) -> Any:
    """All images once, unmoved: float32 [n, H, W, channels], int32 [n]."""
    import tensorflow as tf

    height, width = split.images.shape[1:3]

    def rows(indices: Any) -> Any:
        images = tf.numpy_function(lambda chosen: mapped.read_rows(split.images, chosen), [indices], tf.uint8)
        images = tf.ensure_shape(images, (None, height, width, 3))
        return pixels.to_tensor(images, architecture), tf.gather(split.classes, indices)

    indices = tf.data.Dataset.range(len(split.classes)).batch(_VALIDATION_BATCH)
    return indices.map(rows, num_parallel_calls=1, deterministic=True).prefetch(1)


def batch_images(
    architecture: Architecture, split: Split, size: int, seed: int, classes: int, augmentation: Augmentation
) -> Any:
    """Endless shuffled, augmented batches, read from disk row by row: float32 [n, H, W, channels], and int32 [n].

    Labels are float32 [n, classes] where `augmentation` blends images.
    """
    import tensorflow as tf

    height, width = split.images.shape[1:3]
    augment = build_augmenter(augmentation, classes, seed)

    def rows(indices: Any) -> Any:
        def read(chosen: Any) -> Any:
            return mapped.read_rows(split.images, chosen)

        images = tf.ensure_shape(tf.numpy_function(read, [indices], tf.uint8), (None, height, width, 3))
        images, labels = augment(tf.cast(images, tf.float32), tf.gather(split.classes, indices))
        return pixels.to_tensor(images, architecture), labels

    indices = tf.data.Dataset.range(len(split.classes)).shuffle(len(split.classes), seed=seed)
    # Batches before repeating: an epoch sees every image once.
    return indices.batch(size).repeat().map(rows, num_parallel_calls=1, deterministic=True).prefetch(2)
