"""MnasNet, found by a search that timed its candidates on a phone."""

from typing import Any

from export.architectures.applications import SMALL
from export.architectures.architecture import Shape
from export.architectures.blocks import (
    InvertedBottlenecks,
    close_network,
    convolve_normalize,
    open_input,
    own_network,
    pad,
)

_SMALLEST = 32
_EPSILON = 1e-5


# MnasNet-B1, without squeeze-and-excitation: the paper's supplementary material, and torchvision's mnasnet1_0.
_STAGES = (
    InvertedBottlenecks(repeats=3, kernel=3, stride=2, expansion=3, channels=24),
    InvertedBottlenecks(repeats=3, kernel=5, stride=2, expansion=3, channels=40),
    InvertedBottlenecks(repeats=3, kernel=5, stride=2, expansion=6, channels=80),
    InvertedBottlenecks(repeats=2, kernel=3, stride=1, expansion=6, channels=96),
    InvertedBottlenecks(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    InvertedBottlenecks(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)
_STEM, _SEPARABLE, _TOP = 32, 16, 1280


def _mnasnet(shape: Shape, classes: int) -> Any:
    from keras import layers

    image = open_input(shape, _SMALLEST)
    x = convolve_normalize(image, _STEM, 3, 2, name="stem", epsilon=_EPSILON)
    x = _filter(x, 3, 1, "separable_dw")
    x = convolve_normalize(x, _SEPARABLE, 1, name="separable", relu=False, epsilon=_EPSILON)
    for number, stage in enumerate(_STAGES, 1):
        for repeat in range(1, stage.repeats + 1):
            x = _bottleneck(x, stage, stage.stride if repeat == 1 else 1, f"block{number}_{repeat}")
    x = convolve_normalize(x, _TOP, 1, name="top", epsilon=_EPSILON)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return close_network(image, layers.Dropout(0.2, name="dropout")(x), classes, "mnasnet1_0")


def _bottleneck(x: Any, stage: InvertedBottlenecks, stride: int, name: str) -> Any:
    """Expand by 1x1, filter every channel, project by 1x1; the input is added where shapes allow."""
    from keras import layers

    given = x
    x = convolve_normalize(x, given.shape[-1] * stage.expansion, 1, name=f"{name}_expand", epsilon=_EPSILON)
    x = _filter(x, stage.kernel, stride, f"{name}_dw")
    x = convolve_normalize(x, stage.channels, 1, name=f"{name}_project", relu=False, epsilon=_EPSILON)
    if stride == 1 and given.shape[-1] == stage.channels:
        x = layers.Add(name=f"{name}_add")([x, given])
    return x


def _filter(x: Any, kernel: int, stride: int, name: str) -> Any:
    from keras import layers

    padded, padding = (pad(x, kernel, name), "valid") if stride > 1 else (x, "same")
    x = layers.DepthwiseConv2D(kernel, stride, padding=padding, use_bias=False, name=f"{name}_conv")(padded)
    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x))


ROWS = (
    own_network(
        "mnasnet1_0",
        _mnasnet,
        4_421_232,
        trainable=4_383_312,
        family="MnasNet",
        year=2018,
        smallest_size=_SMALLEST,
        accuracy=(0.735, 0.915, "torchvision"),
        recipe=SMALL,
        source="arXiv:1807.11626, Tan et al.: MnasNet: Platform-Aware Neural Architecture Search for Mobile",
        count="trainable ones in torchvision",
    ),
)
