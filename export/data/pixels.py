"""Encoded images -> pixels -> network input: the same operations in training data and in the served graph.

Runs eagerly and inside a `tf.function` alike. What a gateway does beside the model follows
`service.repository.manifest.Preprocessing`, which describes `decode`.
"""

from typing import Any, Protocol

from export.architectures.architecture import Scaling

# ITU-R BT.601 luma, as JPEG and every common "convert to grayscale" has it.
_LUMA = (0.299, 0.587, 0.114)

_MOST_IMAGES, _MOST_PIXELS = 32, 8 * 224 * 224
"""At once: the maps of a large network take some 100 MB for each image of 224x224 pixels."""


def choose_batch(size: int) -> int:
    """How many images of [size, size] a network is asked about at once where nothing depends on it but memory."""
    return max(1, min(_MOST_IMAGES, _MOST_PIXELS // size**2))


def decode(data: Any, size: int) -> Any:
    """One encoded image (scalar string: JPEG, PNG, BMP or GIF) -> uint8 RGB [size, size, 3].

    Resized bilinearly with antialiasing, aspect ratio not kept, transparency dropped, EXIF orientation ignored:
    TensorFlow cannot read it, so who decodes ahead of the graph turns images upright. Raises
    `tf.errors.InvalidArgumentError` where it is no image.
    """
    import tensorflow as tf

    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    image = tf.image.resize(tf.cast(image, tf.float32), (size, size), antialias=True)
    # Rounded to whole levels, so that the signature that takes pixels sees the very same values.
    image = tf.saturate_cast(tf.round(image), tf.uint8)
    return tf.ensure_shape(image, (size, size, 3))


def decode_rows(data: Any, size: int) -> Any:
    """Encoded images, string [N] -> uint8 RGB [N, size, size, 3]."""
    import tensorflow as tf

    row = tf.TensorSpec((size, size, 3), tf.uint8)
    with tf.device("/CPU:0"):  # string kernels exist nowhere else
        return tf.map_fn(lambda image: decode(image, size), data, fn_output_signature=row)


class Scaled(Protocol):
    """A network that says how its pixels are scaled."""

    @property
    def channels(self) -> int: ...
    @property
    def scaling(self) -> Scaling: ...


def to_tensor(pixels: Any, architecture: Scaled) -> Any:
    """RGB [N, H, W, 3], uint8 or float32 of 0 to 255 -> float32 [N, H, W, channels] as the network takes it."""
    import tensorflow as tf

    tensor = tf.cast(pixels, tf.float32)
    if architecture.channels == 1:
        tensor = tf.reduce_sum(tensor * tf.constant(_LUMA), axis=-1, keepdims=True)
    scaling = architecture.scaling
    if scaling.order == "BGR":
        tensor = tf.reverse(tensor, axis=[-1])
    return tensor * tf.constant(scaling.scale) + tf.constant(scaling.offset)
