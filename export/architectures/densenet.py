"""DenseNet: three from Keras' own builders, and the two that it has none for."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from export.architectures.applications import TORCH, network
from export.architectures.architecture import Shape
from export.architectures.blocks import close_network, convolve_normalize, open_input, own_network, pool_max

_SMALLEST = 32
_EPSILON = 1e-5
_SOURCE = "arXiv:1608.06993, Huang et al.: Densely Connected Convolutional Networks"


@dataclass(frozen=True, slots=True)
class Builder:
    """Four dense blocks of `blocks` layers, each of which adds `growth` channels to all that came before it; `stem`
    channels at the start, halved with the image between blocks.
    """

    name: str
    blocks: tuple[int, int, int, int]
    growth: int
    stem: int

    def __call__(self, shape: Shape, classes: int) -> Any:
        from keras import layers

        image = open_input(shape, _SMALLEST)
        x = pool_max(convolve_normalize(image, self.stem, 7, 2, name="stem"), name="stem_pool")
        for number, count in enumerate(self.blocks, 1):
            for layer in range(1, count + 1):
                x = layers.Concatenate(name=f"dense{number}_{layer}_concat")(
                    [x, self._grow(x, f"dense{number}_{layer}")]
                )
            if number < len(self.blocks):
                x = _normalize(x, f"transition{number}")
                x = layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False, name=f"transition{number}_conv")(x)
                x = layers.AveragePooling2D(2, name=f"transition{number}_pool")(x)
        x = layers.GlobalAveragePooling2D(name="pool")(_normalize(x, "top"))
        return close_network(image, x, classes, self.name)

    def _grow(self, x: Any, name: str) -> Any:
        from keras import layers

        x = layers.Conv2D(4 * self.growth, 1, use_bias=False, name=f"{name}_1_conv")(_normalize(x, f"{name}_1"))
        return layers.Conv2D(self.growth, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(
            _normalize(x, f"{name}_2")
        )


def _normalize(x: Any, name: str) -> Any:
    from keras import layers

    return layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x))


_densenet = partial(
    network,
    licence="BSD-3-Clause",
    family="DenseNet",
    year=2017,
    scaling=TORCH,
    source=_SOURCE,
)

_own = partial(own_network, family="DenseNet", year=2017, smallest_size=_SMALLEST, scaling=TORCH, source=_SOURCE)

ROWS = (
    _densenet("densenet121", "DenseNet121", 8_062_504, top1=0.750, top5=0.923),
    _densenet("densenet169", "DenseNet169", 14_307_880, top1=0.762, top5=0.932),
    _densenet("densenet201", "DenseNet201", 20_242_984, top1=0.773, top5=0.936),
    _own(
        "densenet161",
        Builder("densenet161", (6, 12, 36, 24), growth=48, stem=96),
        28_900_936,
        trainable=28_681_000,
        accuracy=(0.771, 0.936, "torchvision"),
        count="trainable ones in torchvision",
    ),
    _own(
        "densenet264",
        Builder("densenet264", (6, 12, 64, 48), growth=32, stem=64),
        33_736_232,
        trainable=33_337_704,
        accuracy=(0.779, 0.939, "the paper"),
        count="trainable ones as built here, published as 33.4M",
    ),
)
