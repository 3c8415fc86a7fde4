"""A network in two: a backbone whose features are computed once an image, and the head that is trained on them."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.data import mapped, pixels
from export.data.dataset import Split
from export.data.scratch import release_pages
from export.errors import ExportError
from export.progress import Stage

_CHECKED = 128


def cut(model: Any, head: Sequence[Any]) -> tuple[Any, Any]:
    """The network up to its first `head` layer, or the dropout ahead of that, and the rest. Both share its layers."""
    import keras

    tensor = head[0].input
    while isinstance(tensor._keras_history.operation, keras.layers.Dropout):
        tensor = tensor._keras_history.operation.input
    return keras.Model(model.inputs, tensor), keras.Model(tensor, model.outputs[0])


def compute(backbone: Any, architecture: Architecture, split: Split, stage: Stage, ends: float = math.inf) -> Split:
    """What `backbone` makes of every image, as in use: float32 [N, ...] in an unnamed scratch file, and their classes.

    After `ends`, a time of the monotonic clock, no batch begins but the first: N is how many images were done by then.
    Raises ExportError where the file does not fit on the disk.
    """
    import tensorflow as tf

    shape = (len(split.classes), *(int(side) for side in backbone.output_shape[1:]))
    features = mapped.allocate(f"features of {shape[0]} images", shape, np.float32)
    infer = tf.function(
        lambda images: backbone(pixels.to_tensor(images, architecture), training=False), reduce_retracing=True
    )
    most = pixels.choose_batch(split.images.shape[1])
    done = 0
    for start in range(0, shape[0], most):
        if start and time.monotonic() > ends:
            break
        rows = slice(start, start + most)
        features[rows] = infer(tf.constant(mapped.read_rows(split.images, rows))).numpy()
        release_pages(features)
        done = min(start + most, shape[0])
        stage.advance(done, shape[0], "images' features")
    if not np.isfinite(features[: min(done, _CHECKED)]).all():
        raise ExportError("the network's features are NaN or infinite: its weights are, or its pixels are scaled wrong")
    return Split(features[:done], split.classes[:done])


def batch_rows(split: Split, size: int, seed: int | None) -> Any:
    """Batches of rows as they are (float32 [n, ...], int32 [n]): endless and shuffled by `seed`, or once in order."""
    import tensorflow as tf

    shape = (None, *split.images.shape[1:])

    def rows(indices: Any) -> Any:
        read = tf.numpy_function(lambda chosen: mapped.read_rows(split.images, chosen), [indices], tf.float32)
        return tf.ensure_shape(read, shape), tf.gather(split.classes, indices)

    indices = tf.data.Dataset.range(len(split.classes))
    if seed is not None:
        indices = indices.shuffle(len(split.classes), seed=seed)
    batches = indices.batch(size)
    return (batches if seed is None else batches.repeat()).map(rows).prefetch(2)
