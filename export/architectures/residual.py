"""Residual networks that Keras has no builder for: the small ones, and what others made of the bottleneck."""

from dataclasses import dataclass
from typing import Any

from export.architectures.architecture import Architecture, Shape
from export.architectures.blocks import close_network, convolve_normalize, open_input, own_network, pool_max

_SMALLEST = 32
_REDUCTION = 16  # of the squeeze in squeeze-and-excitation

_RESNET = "arXiv:1512.03385, He et al.: Deep Residual Learning for Image Recognition"
_RESNEXT = "arXiv:1611.05431, Xie et al.: Aggregated Residual Transformations for Deep Neural Networks"
_WIDE = "arXiv:1605.07146, Zagoruyko and Komodakis: Wide Residual Networks"
_SENET = "arXiv:1709.01507, Hu et al.: Squeeze-and-Excitation Networks"

Accuracy = tuple[float, float, str]
"""Top-1, top-5 and who measured them."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Four stages of residual blocks of 64, 128, 256, 512 channels, `blocks` of them in each.

    A block is two convolutions, or a `bottleneck` whose output is four times as wide. The bottleneck's 3x3 has `groups`
    and is `width` times as wide as the channels. `excite` weighs the channels of each block's output.
    """

    name: str
    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    groups: int = 1
    width: int = 1
    excite: bool = False

    def __call__(self, shape: Shape, classes: int) -> Any:
        from keras import layers

        image = open_input(shape, _SMALLEST)
        x = pool_max(convolve_normalize(image, 64, 7, 2, name="stem"), name="stem_pool")
        for stage, count in enumerate(self.blocks):
            for block in range(1, count + 1):
                stride = 2 if stage and block == 1 else 1
                x = self._block(x, 64 << stage, stride, f"stage{stage + 1}_{block}")
        return close_network(image, layers.GlobalAveragePooling2D(name="pool")(x), classes, self.name)

    def _block(self, x: Any, channels: int, stride: int, name: str) -> Any:
        from keras import layers

        given, outputs = x, channels * 4 if self.bottleneck else channels
        if self.bottleneck:
            inner = channels * self.width
            x = convolve_normalize(x, inner, 1, name=f"{name}_1")
            x = convolve_normalize(x, inner, 3, stride, name=f"{name}_2", groups=self.groups)
            x = convolve_normalize(x, outputs, 1, name=f"{name}_3", relu=False)
        else:
            x = convolve_normalize(x, channels, 3, stride, name=f"{name}_1")
            x = convolve_normalize(x, channels, 3, name=f"{name}_2", relu=False)
        if self.excite:
            x = _excite(x, name)
        if stride > 1 or given.shape[-1] != outputs:
            given = convolve_normalize(given, outputs, 1, stride, name=f"{name}_short", relu=False)
        return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, given]))


def _excite(x: Any, name: str) -> Any:
    """Squeeze-and-excitation: each channel weighed by what all of them are on average."""
    from keras import layers

    channels = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    weights = layers.Conv2D(channels // _REDUCTION, 1, activation="relu", name=f"{name}_reduce")(weights)
    weights = layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_expand")(weights)
    return layers.Multiply(name=f"{name}_excite")([x, weights])


def _row(
    build: Builder, trainable: int, parameters: int, family: str, year: int, source: str, count: str, accuracy: Accuracy
) -> Architecture:
    return own_network(
        build.name,
        build,
        parameters,
        trainable=trainable,
        family=family,
        year=year,
        smallest_size=_SMALLEST,
        source=source,
        count=f"trainable ones in {count}",
        accuracy=accuracy,
    )


ROWS = (
    _row(
        Builder("resnet18", (2, 2, 2, 2), bottleneck=False),
        11_689_512,
        11_699_112,
        "ResNet",
        2015,
        _RESNET,
        "torchvision",
        (0.698, 0.891, "torchvision"),
    ),
    _row(
        Builder("resnet34", (3, 4, 6, 3), bottleneck=False),
        21_797_672,
        21_814_696,
        "ResNet",
        2015,
        _RESNET,
        "torchvision",
        (0.733, 0.914, "torchvision"),
    ),
    _row(
        Builder("resnext50_32x4d", (3, 4, 6, 3), groups=32, width=2),
        25_028_904,
        25_097_128,
        "ResNeXt",
        2016,
        _RESNEXT,
        "torchvision",
        (0.776, 0.937, "torchvision"),
    ),
    _row(
        Builder("resnext101_32x4d", (3, 4, 23, 3), groups=32, width=2),
        44_177_704,
        44_315_560,
        "ResNeXt",
        2016,
        _RESNEXT,
        "osmr/imgclsmob",
        (0.788, 0.944, "the paper"),
    ),
    _row(
        Builder("wide_resnet50_2", (3, 4, 6, 3), width=2),
        68_883_240,
        68_951_464,
        "Wide ResNet",
        2016,
        _WIDE,
        "torchvision",
        (0.785, 0.941, "torchvision"),
    ),
    _row(
        Builder("se_resnet50", (3, 4, 6, 3), excite=True),
        28_088_024,
        28_141_144,
        "SENet",
        2017,
        _SENET,
        "osmr/imgclsmob",
        (0.767, 0.934, "the paper"),
    ),
)
