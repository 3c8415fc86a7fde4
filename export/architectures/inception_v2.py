"""Inception v2, better known as BN-Inception: GoogLeNet with batch norm, and two 3x3 for each 5x5."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from export.architectures.architecture import Shape
from export.architectures.blocks import close_network, convolve_normalize, open_input, own_network, pool_max

_SMALLEST = 32


@dataclass(frozen=True, slots=True)
class _Module:
    """A module's filters: `before` are the 1x1 ahead of the 3x3 and of the two 3x3. With no `ones` it halves the image,
    and its pooling passes all channels.
    """

    name: str
    ones: int
    before: tuple[int, int]
    threes: int
    twice: int
    pooled: int = 0
    largest: bool = False  # pools the largest, not the mean


# The table in the paper's appendix.
_MODULES = (
    _Module("3a", 64, (64, 64), 64, 96, 32),
    _Module("3b", 64, (64, 64), 96, 96, 64),
    _Module("3c", 0, (128, 64), 160, 96),
    _Module("4a", 224, (64, 96), 96, 128, 128),
    _Module("4b", 192, (96, 96), 128, 128, 128),
    _Module("4c", 160, (128, 128), 160, 160, 128),
    _Module("4d", 96, (128, 160), 192, 192, 128),
    _Module("4e", 0, (128, 192), 192, 256),
    _Module("5a", 352, (192, 160), 320, 224, 128),
    _Module("5b", 352, (192, 192), 320, 224, 128, largest=True),
)
# With a bias ahead of each batch norm, as its authors' file for Caffe has it.
_convolve = partial(convolve_normalize, bias=True)


def _inception_v2(shape: Shape, classes: int) -> Any:
    from keras import layers

    image = open_input(shape, _SMALLEST)
    x = pool_max(_convolve(image, 64, 7, 2, name="conv1"), name="pool1")
    x = _convolve(_convolve(x, 64, 1, name="conv2_reduce"), 192, 3, name="conv2")
    x = pool_max(x, name="pool2")
    for module in _MODULES:
        x = _inception(x, module, f"inception_{module.name}")
    return close_network(image, layers.GlobalAveragePooling2D(name="pool")(x), classes, "inception_v2")


def _inception(x: Any, module: _Module, name: str) -> Any:
    from keras import layers

    stride = 1 if module.ones else 2
    three, twice = module.before
    branches = [
        _convolve(_convolve(x, three, 1, name=f"{name}_3x3_reduce"), module.threes, 3, stride, name=f"{name}_3x3"),
        _convolve(
            _convolve(_convolve(x, twice, 1, name=f"{name}_double_reduce"), module.twice, 3, name=f"{name}_double_1"),
            module.twice,
            3,
            stride,
            name=f"{name}_double_2",
        ),
    ]
    if module.ones:
        pool = layers.MaxPooling2D if module.largest else layers.AveragePooling2D
        pooled = pool(3, 1, padding="same", name=f"{name}_pool")(x)
        branches = [
            _convolve(x, module.ones, 1, name=f"{name}_1x1"),
            *branches,
            _convolve(pooled, module.pooled, 1, name=f"{name}_pool_proj"),
        ]
    else:
        branches.append(pool_max(x, name=f"{name}_pool"))
    return layers.Concatenate(name=name)(branches)


ROWS = (
    own_network(
        "inception_v2",
        _inception_v2,
        11_315_272,
        trainable=11_295_240,
        family="Inception v2",
        year=2015,
        smallest_size=_SMALLEST,
        accuracy=(0.748, 0.922, "the paper"),
        source="arXiv:1502.03167, Ioffe and Szegedy: Batch Normalization: Accelerating Deep Network Training by "
        "Reducing Internal Covariate Shift",
        count="trainable ones in osmr/imgclsmob",
    ),
)
