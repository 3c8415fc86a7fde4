"""GoogLeNet, the first Inception. Two heads in its middle are there for training only."""

from dataclasses import dataclass
from typing import Any

from export.architectures.applications import GENTLE
from export.architectures.architecture import Shape
from export.architectures.blocks import close_network, normalize_responses, open_input, own_network, pool_max

_SMALLEST = 32


@dataclass(frozen=True, slots=True)
class _Module:
    """An inception module's filters: `before_3` and `before_5` are the 1x1 ahead of 3x3 and 5x5, `pooled` behind the
    pooling.
    """

    name: str
    ones: int
    before_3: int
    threes: int
    before_5: int
    fives: int
    pooled: int


# Table 1 of the paper; None is a pooling.
_MODULES = (
    _Module("3a", 64, 96, 128, 16, 32, 32),
    _Module("3b", 128, 128, 192, 32, 96, 64),
    None,
    _Module("4a", 192, 96, 208, 16, 48, 64),
    _Module("4b", 160, 112, 224, 24, 64, 64),
    _Module("4c", 128, 128, 256, 24, 64, 64),
    _Module("4d", 112, 144, 288, 32, 64, 64),
    _Module("4e", 256, 160, 320, 32, 128, 128),
    None,
    _Module("5a", 256, 160, 320, 32, 128, 128),
    _Module("5b", 384, 192, 384, 48, 128, 128),
)


def _googlenet(shape: Shape, classes: int) -> Any:
    from keras import layers

    image = open_input(shape, _SMALLEST)
    x = normalize_responses(pool_max(_convolve(image, 64, 7, "conv1", stride=2), name="pool1"))
    x = _convolve(_convolve(x, 64, 1, "conv2_reduce"), 192, 3, "conv2")
    x = pool_max(normalize_responses(x), name="pool2")
    pools = 2
    for module in _MODULES:
        if module is None:
            pools += 1
            x = pool_max(x, name=f"pool{pools}")
        else:
            x = _inception(x, module)
    x = layers.GlobalAveragePooling2D(name="pool5")(x)
    return close_network(image, layers.Dropout(0.4, name="dropout")(x), classes, "googlenet")


def _add_auxiliary_heads(model: Any) -> tuple[Any, ...]:
    """Section 5 of the paper. Where the maps are smaller than the pooling's window, it takes all of them."""
    from keras import layers

    answers = []
    for name in ("4a", "4d"):
        x = model.get_layer(f"inception_{name}").output
        window = min(5, *x.shape[1:3])
        x = layers.AveragePooling2D(window, 3, name=f"auxiliary_{name}_pool")(x)
        x = layers.Flatten(name=f"auxiliary_{name}_flatten")(_convolve(x, 128, 1, f"auxiliary_{name}_conv"))
        x = layers.Dense(1024, activation="relu", name=f"auxiliary_{name}_fc")(x)
        x = layers.Dropout(0.7, name=f"auxiliary_{name}_dropout")(x)
        x = layers.Dense(model.output_shape[-1], activation="softmax", name=f"auxiliary_{name}_predictions")(x)
        answers.append(x)
    return tuple(answers)


def _inception(x: Any, module: _Module) -> Any:
    from keras import layers

    name = f"inception_{module.name}"
    threes = _convolve(_convolve(x, module.before_3, 1, f"{name}_3x3_reduce"), module.threes, 3, f"{name}_3x3")
    fives = _convolve(_convolve(x, module.before_5, 1, f"{name}_5x5_reduce"), module.fives, 5, f"{name}_5x5")
    pooled = _convolve(pool_max(x, 1, name=f"{name}_pool"), module.pooled, 1, f"{name}_pool_proj")
    ones = _convolve(x, module.ones, 1, f"{name}_1x1")
    return layers.Concatenate(name=name)([ones, threes, fives, pooled])


def _convolve(x: Any, filters: int, kernel: int, name: str, stride: int = 1) -> Any:
    from keras import layers

    # Weights scaled to rectifiers: with Glorot's the signal dies out over 21 layers without batch norm.
    return layers.Conv2D(
        filters, kernel, stride, padding="same", activation="relu", kernel_initializer="he_normal", name=name
    )(x)


ROWS = (
    own_network(
        "googlenet",
        _googlenet,
        6_998_552,
        family="Inception v1",
        year=2014,
        smallest_size=_SMALLEST,
        accuracy=(0.698, 0.895, "torchvision"),
        recipe=GENTLE,
        source="arXiv:1409.4842, Szegedy et al.: Going Deeper with Convolutions",
        count="as built here, published as 7.0M",
        auxiliary=_add_auxiliary_heads,
    ),
)
