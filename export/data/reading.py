"""One encoded image, read as the service will read it, and what the graph's own decoder makes of it.

The service decides: what it refuses is no training image. The graph decodes where a bare TensorFlow Serving
serves the model; where it cannot follow, the service's pixels are trained on and the reading says so.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from export.data import pixels
from export.errors import ExportError
from service.errors import ServiceError
from service.preprocessing import decode as images
from service.preprocessing.orientation import UPRIGHT, turn_upright

PIXEL_TOLERANCE = 2.0
"""Levels of 255 by which an image decoded by the service may differ from the graph's, on average over its
pixels: rounding, and for large photographs the service's reduction while decoding (about 1)."""

"""The service's default `--max-pixels`."""

# What the graph's decoder cannot do with a file, as a predicate.
_WEBP = "WebP, which the service decodes and a bare TensorFlow Serving cannot"
_UNREADABLE = "decoded by the service but not by a bare TensorFlow Serving"
_TURNED = "turned by their EXIF orientation, which a bare TensorFlow Serving ignores"
_OTHERWISE = "decoded otherwise by a bare TensorFlow Serving than by the service, whose pixels are trained on"


def build_graph(size: int) -> Callable[[bytes], Any]:
    """The graph's decoder: an encoded image -> uint8 [size, size, 3]. Raises `tf.errors.InvalidArgumentError`."""
    import tensorflow as tf

    decode = tf.function(lambda data: pixels.decode(data, size), input_signature=[tf.TensorSpec([], tf.string)])
    return lambda data: decode(data).numpy()


def read(data: bytes, size: int, decode: Callable[[bytes], Any]) -> tuple[Any, str]:
    """RGB, uint8 [size, size, 3], and what the graph's decoder (`decode`) cannot do with the file: "" where they agree.

    The pixels are the graph's, turned upright, where they agree with the service's, and the service's where they do
    not. Raises ExportError with the service's reason where it refuses the file.
    """
    from tensorflow.errors import InvalidArgumentError

    try:
        served = images.decode(data, size, size)
        orientation = images.find_orientation(data)
    except ServiceError as error:
        raise ExportError(str(error)) from error
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return served, _WEBP
    try:
        row = turn_upright(decode(data), orientation)
    except InvalidArgumentError:
        return served, _UNREADABLE
    if measure_levels(served, row) > PIXEL_TOLERANCE:
        return served, _OTHERWISE
    return row, "" if orientation == UPRIGHT else _TURNED


def encode_png(pixels: Any) -> bytes:
    """RGB, uint8 [height, width, 3], as a file that the graph's decoder reads."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "PNG")
    return file.getvalue()


def measure_levels(image: Any, other: Any) -> float:
    """Mean absolute difference of two images of one shape, in levels of 255."""
    return float(np.abs(image.astype(int) - other).mean())
