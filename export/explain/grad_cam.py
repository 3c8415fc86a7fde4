"""Grad-CAM: where in an image a network's answer comes from.

Selvaraju et al.: Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2017
(arXiv:1610.02391).
"""

from typing import Any

import numpy as np

from export.errors import ExportError

_TOKENS = 3  # dimensions of what a transformer passes on: images, places, channels


def compute_heat(model: Any, tensor: Any, label: int) -> Any:
    """How much each place of the last feature map speaks for class `label`: float32 [h, w] from 0 to 1.

    `tensor` is one image as `model` takes it, float32 [1, H, W, channels]. The map's channels are weighed by the mean
    gradient of the class's score ahead of the softmax, summed, and cut off below 0. All zeros where nothing speaks
    for the class. Raises ExportError where the network has no such map.
    """
    import keras
    import tensorflow as tf

    watched = keras.Model(model.inputs[0], [_find_last_map(model), _find_scores(model)])
    given = tf.convert_to_tensor(tensor)
    with tf.GradientTape() as tape:
        tape.watch(given)
        features, scores = watched(given, training=False)
        score = scores[0, label]
    weights = tf.reduce_mean(tape.gradient(score, features), axis=(0, 1, 2))
    heat = np.maximum(tf.reduce_sum(features[0] * weights, axis=-1).numpy(), 0)
    return heat / heat.max() if heat.max() > 0 else heat


def locate_centre(heat: Any) -> tuple[float, float]:
    """The centre of mass of [h, w] as shares of width and height, (0, 0) top left; the middle where all is zero."""
    if not heat.any():
        return 0.5, 0.5
    rows, columns = heat.shape
    x = (heat.sum(axis=0) * (np.arange(columns) + 0.5)).sum() / columns
    y = (heat.sum(axis=1) * (np.arange(rows) + 0.5)).sum() / rows
    return float(x / heat.sum()), float(y / heat.sum())


def _find_last_map(model: Any) -> Any:
    """What the last operation that still tells places apart answers: [N, h, w, channels]."""
    import keras

    found = None
    for operation in model.operations:
        shape: tuple[int, ...] = getattr(operation.output, "shape", ())
        if len(shape) == _TOKENS:
            found = None
        elif len(shape) == 4 and shape[1] * shape[2] > 1 and not isinstance(operation, keras.layers.InputLayer):
            found = operation.output
    if found is None:
        raise ExportError(
            f"the network {model.name} keeps no map of places up to its answer, as convolutional ones do and "
            "transformers do not; Grad-CAM has nothing to weigh"
        )
    return found


def _find_scores(model: Any) -> Any:
    """The classes' scores ahead of the softmax; where none is found, what the network answers."""
    import keras

    last = model.outputs[0]._keras_history.operation
    softmax = keras.activations.softmax
    if isinstance(last, keras.layers.Softmax):
        return last.input
    if getattr(last, "activation", None) is not softmax:
        return model.outputs[0]
    if isinstance(last, keras.layers.Activation):
        return last.input
    bare = type(last).from_config({**last.get_config(), "activation": None, "name": f"{last.name}_scores"})
    scores = bare(last.input)
    bare.set_weights(last.get_weights())
    return scores
