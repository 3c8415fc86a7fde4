"""ConvNeXt, from Keras' own builders."""

from functools import partial
from typing import Any

from export.architectures.applications import GENTLE, TORCH, network, rounded


def _amend(model: Any) -> None:
    """Computes the depthwise convolutions as such; weights stay where and as they are.

    Keras writes them as grouped ones, which TensorFlow lacks on CPUs, and so puts each into a function
    that XLA has to compile: for every new batch size, in a graph that is meant to be flat (Keras 3.15).
    """
    from keras import layers, ops

    def convolve(inputs: Any, kernel: Any) -> Any:
        height, width, _, channels = kernel.shape
        return ops.depthwise_conv(inputs, ops.reshape(kernel, (height, width, channels, 1)), padding="same")

    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer.groups > 1:
            layer.convolution_op = convolve


_convnext = partial(
    network,
    family="ConvNeXt",
    year=2022,
    scaling=TORCH,
    recipe=GENTLE,
    bare=True,
    amend=_amend,
    source="arXiv:2201.03545, Liu et al.: A ConvNet for the 2020s",
)

ROWS = (
    _convnext("convnext_tiny", "ConvNeXtTiny", 28_589_128, top1=0.813, count=rounded("28.6M")),
    _convnext("convnext_small", "ConvNeXtSmall", 50_223_688, top1=0.823, count=rounded("50.2M")),
    _convnext("convnext_base", "ConvNeXtBase", 88_591_464, top1=0.853, count=rounded("88.6M")),
    _convnext("convnext_large", "ConvNeXtLarge", 197_767_336, top1=0.863, count=rounded("197.8M")),
    _convnext("convnext_xlarge", "ConvNeXtXLarge", 350_196_968, top1=0.867, count=rounded("350.2M")),
)
