"""The first convolution of a network: what its filters look for, and what they find in one image."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from export.errors import ExportError


@dataclass(frozen=True, slots=True)
class Filters:
    """`kernels` float32 [n, h, w, channels of the input], `responses` float32 [n, H, W], in the network's order."""

    layer: str
    kernels: Any
    responses: Any


def read_filters(model: Any, tensor: Any) -> Filters:
    """Of one image as `model` takes it, float32 [1, H, W, channels]. Raises ExportError without a convolution."""
    import keras

    for operation in model.operations:
        if isinstance(operation, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            found = keras.Model(model.inputs[0], operation.output)(tensor, training=False)
            kernel = np.asarray(operation.kernel)
            if isinstance(operation, keras.layers.DepthwiseConv2D):  # [h, w, channels, multiplier]
                kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
            return Filters(operation.name, kernel.transpose(3, 0, 1, 2), np.asarray(found)[0].transpose(2, 0, 1))
        if isinstance(operation, keras.Model) and operation.weights:
            inner = keras.Model(operation.inputs[0], operation.outputs[0])  # a Sequential has no operations of its own
            return read_filters(inner, keras.Model(model.inputs[0], operation.input)(tensor, training=False))
    raise ExportError(f"the network {model.name} has no convolution whose filters could be shown")
