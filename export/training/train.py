"""Fitting a network to a dataset, and finding out how well it does on images it never saw."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture, Recipe
from export.data import pixels
from export.data.augmentation import LIGHT, PRESETS, Augmentation, build_augmenter
from export.data.dataset import Split
from export.data.scratch import release_pages
from export.errors import ExportError
from export.progress import Stage

_EVALUATION_BATCH = 128


@dataclass(frozen=True, slots=True)
class Score:
    """How a network does on held-out images: the share it gets right, in all and class by class."""

    accuracy: float
    by_class: dict[str, float]

    @property
    def worst(self) -> str:
        return min(self.by_class, key=lambda label: self.by_class[label])


def fit(
    model: Any,
    architecture: Architecture,
    split: Split,
    recipe: Recipe,
    seed: int,
    stage: Stage,
    augmentation: Augmentation = PRESETS[LIGHT],
) -> None:
    """Trains `model` in place: Adam, cosine decay to zero, cross-entropy, images augmented."""
    import keras

    steps = math.ceil(len(split.classes) / recipe.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, recipe.epochs * steps)
    # XLA costs far more to compile on a CPU than it ever gives back here.
    model.compile(
        keras.optimizers.Adam(rate),
        "categorical_crossentropy" if augmentation.blends else "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.fit(
        _batches(architecture, split, recipe.batch_size, seed, augmentation, model.output_shape[-1]),
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
        callbacks=[_reporter(stage, recipe.epochs, steps)],
    )


def evaluate(model: Any, architecture: Architecture, split: Split, labels: tuple[str, ...], stage: Stage) -> Score:
    """Counts right answers on `split`, batch norms and dropout as in use. Raises ExportError where answers are NaN."""
    import tensorflow as tf

    infer = tf.function(
        lambda images: model(pixels.to_tensor(images, architecture), training=False), reduce_retracing=True
    )
    right = np.zeros(len(split.classes), bool)
    for start in range(0, len(right), _EVALUATION_BATCH):
        rows = slice(start, start + _EVALUATION_BATCH)
        images = tf.constant(np.asarray(split.images[rows]))
        answers = infer(images).numpy()
        if not np.isfinite(answers).all():
            raise ExportError("the network answers NaN or infinity: its training diverged; lower --learning-rate")
        right[rows] = answers.argmax(-1) == split.classes[rows]
        stage.advance(min(start + _EVALUATION_BATCH, len(right)), len(right), "held-out images")
    by_class = {label: float(right[split.classes == index].mean()) for index, label in enumerate(labels)}
    return Score(float(right.mean()), by_class)


def _batches(
    architecture: Architecture, split: Split, size: int, seed: int, augmentation: Augmentation, classes: int
) -> Any:
    """Endless shuffled, augmented batches, read from disk row by row: float32 [n, H, W, channels], and int32 [n].

    Labels are float32 [n, classes] where `augmentation` blends images.
    """
    import tensorflow as tf

    height, width = split.images.shape[1:3]
    augment = build_augmenter(augmentation, classes, seed)

    def rows(indices: Any) -> Any:
        def read(chosen: Any) -> Any:
            rows = split.images[chosen]
            release_pages(split.images)
            return rows

        images = tf.ensure_shape(tf.numpy_function(read, [indices], tf.uint8), (None, height, width, 3))
        images, labels = augment(tf.cast(images, tf.float32), tf.gather(split.classes, indices))
        return pixels.to_tensor(images, architecture), labels

    indices = tf.data.Dataset.range(len(split.classes)).shuffle(len(split.classes), seed=seed)
    # Batches before repeating: an epoch sees every image once.
    return indices.batch(size).repeat().map(rows, num_parallel_calls=1, deterministic=True).prefetch(2)


def _reporter(stage: Stage, epochs: int, steps: int) -> Any:
    import keras

    class Reporter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
        epoch = 0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            done = self.epoch * steps + batch + 1
            stage.advance(done, epochs * steps, f"epoch {self.epoch + 1}/{epochs}, {_metrics(logs)}")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            stage.line(f"epoch {epoch + 1}/{epochs}, {_metrics(logs)}")

    return Reporter()


def _metrics(logs: Any) -> str:
    return f"loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.3f}"
