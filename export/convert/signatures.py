"""The ways to call an exported model, and the one graph behind them.

| signature       | input                              | outputs                                             |
|-----------------|------------------------------------|-----------------------------------------------------|
| serving_default | image_bytes string [N]             | probabilities float32 [N, C], classes string [N, C] |
| image           | image uint8 [N, H, W, 3], RGB      | probabilities                                       |
| tensor          | tensor float32 [N, H, W, channels] | probabilities                                       |
| features        | image_bytes string [N]             | features float32 [N, D]                             |
| image_features  | pixels uint8 [N, H, W, 3], RGB     | features, probabilities                             |

They are three places to feed one chain: bytes -> image -> tensor -> features -> probabilities. `classes` names the
columns of `probabilities`, row by row, so that a bare TensorFlow Serving client needs no label file. `features` are
what the classifier is given (`features.py`); the last two are left out where a network has none. `image_features`
gives both in one run, and its input has a name of its own: clients of the Open Inference Protocol may leave the
signature to the names of the inputs that they send.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from export.architectures.architecture import Architecture
from export.convert.held_weights import HeldWeights, hold
from export.data import pixels
from service.names import DEFAULT_SIGNATURE
from service.repository.manifest import FEATURES, IMAGE_FEATURES, STRING, Signature, TensorSpec

BYTES = DEFAULT_SIGNATURE
IMAGE = "image"
TENSOR = "tensor"

IMAGE_BYTES = "image_bytes"
PROBABILITIES = "probabilities"
CLASSES = "classes"
PIXELS = "pixels"

NODES = {PIXELS: IMAGE}
"""Alias of a tensor -> its name in the graph, where that is another."""


def describe(architecture: Architecture, size: int, classes: int, width: int | None = None) -> Mapping[str, Signature]:
    """The signatures as the manifest and the SavedModel declare them; tensor aliases are graph names, except NODES.

    `width` is that of the features, None where there are none.
    """
    probabilities = {PROBABILITIES: TensorSpec("float32", (None, classes))}
    encoded, image = {IMAGE_BYTES: TensorSpec(STRING, (None,))}, TensorSpec("uint8", (None, size, size, 3))
    declared = {
        BYTES: Signature(encoded, {**probabilities, CLASSES: TensorSpec(STRING, (None, classes))}),
        IMAGE: Signature({IMAGE: image}, probabilities),
        TENSOR: Signature({TENSOR: TensorSpec("float32", (None, *architecture.shape(size)))}, probabilities),
    }
    if width is not None:
        features = {FEATURES: TensorSpec("float32", (None, width))}
        declared[FEATURES] = Signature(encoded, features)
        declared[IMAGE_FEATURES] = Signature({PIXELS: image}, {**features, **probabilities})
    return declared


def chain(
    model: Any, architecture: Architecture, size: int, labels: tuple[str, ...], held: HeldWeights | None = None
) -> Any:
    """The whole graph as a function of image bytes, every stage named as `describe` names it.

    Where `held` is given, large weights are left out of the graph and noted there.
    """
    import tensorflow as tf

    def serve(image_bytes: Any) -> Any:
        image = tf.identity(pixels.decode_rows(image_bytes, size), name=IMAGE)
        tensor = tf.identity(pixels.to_tensor(image, architecture), name=TENSOR)
        with nullcontext() if held is None else hold(model, held):
            probabilities = tf.identity(model(tensor, training=False), name=PROBABILITIES)
        rows = tf.shape(probabilities)[0]
        classes = tf.tile(tf.constant(labels)[tf.newaxis], [rows, 1])
        return probabilities, tf.identity(classes, name=CLASSES)

    return tf.function(serve, input_signature=[tf.TensorSpec([None], tf.string, name=IMAGE_BYTES)])
