"""ShuffleNet V2: half of the channels pass each block untouched, and are shuffled with the others."""

from typing import Any

from export.architectures.applications import SMALL
from export.architectures.architecture import Shape
from export.architectures.blocks import close_network, convolve_normalize, open_input, own_network, pad, pool_max

_SMALLEST = 32
# Table 5 of the paper, for width 1.0: channels and blocks of each stage.
_STAGES = ((116, 4), (232, 8), (464, 4))
_STEM, _TOP = 24, 1024


def _shufflenet_v2(shape: Shape, classes: int) -> Any:
    from keras import layers

    image = open_input(shape, _SMALLEST)
    x = pool_max(convolve_normalize(image, _STEM, 3, 2, name="stem"), name="stem_pool")
    for number, (channels, blocks) in enumerate(_STAGES, 2):
        for block in range(1, blocks + 1):
            x = _block(x, channels // 2, 2 if block == 1 else 1, f"stage{number}_{block}")
    x = convolve_normalize(x, _TOP, 1, name="top")
    return close_network(image, layers.GlobalAveragePooling2D(name="pool")(x), classes, "shufflenet_v2_x1_0")


def _block(x: Any, half: int, stride: int, name: str) -> Any:
    """Two branches of `half` channels: one filtered, the other as it was, or filtered as well where sizes change."""
    from keras import layers

    if stride == 1:
        kept, x = x[..., :half], x[..., half:]
    else:
        kept = convolve_normalize(_filter(x, stride, f"{name}_kept_dw"), half, 1, name=f"{name}_kept")
    x = convolve_normalize(x, half, 1, name=f"{name}_in")
    x = convolve_normalize(_filter(x, stride, f"{name}_dw"), half, 1, name=f"{name}_out")
    return _shuffle(layers.Concatenate(name=f"{name}_concat")([kept, x]), f"{name}_shuffle")


def _filter(x: Any, stride: int, name: str) -> Any:
    from keras import layers

    padded, padding = (pad(x, 3, name), "valid") if stride > 1 else (x, "same")
    x = layers.DepthwiseConv2D(3, stride, padding=padding, use_bias=False, name=f"{name}_conv")(padded)
    return layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)


def _shuffle(x: Any, name: str) -> Any:
    """Channels of the two halves in turn."""
    from keras import layers

    height, width, channels = x.shape[1:]
    x = layers.Reshape((height * width, 2, channels // 2), name=f"{name}_halves")(x)
    x = layers.Permute((1, 3, 2), name=f"{name}_turns")(x)
    return layers.Reshape((height, width, channels), name=name)(x)


ROWS = (
    own_network(
        "shufflenet_v2_x1_0",
        _shufflenet_v2,
        2_294_784,
        trainable=2_278_604,
        family="ShuffleNet V2",
        year=2018,
        smallest_size=_SMALLEST,
        accuracy=(0.694, 0.883, "torchvision"),
        recipe=SMALL,
        source="arXiv:1807.11164, Ma et al.: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
        count="trainable ones in torchvision",
    ),
)
