"""Inception v4 and Inception-ResNet v1, two ways on from Inception v3."""

from functools import partial
from typing import Any

from export.architectures.applications import TF
from export.architectures.architecture import Shape
from export.architectures.blocks import close_network, convolve_normalize, open_input, own_network

_SMALLEST = 75
_SOURCE = (
    "arXiv:1602.07261, Szegedy et al.: Inception-v4, Inception-ResNet and the Impact of Residual Connections on "
    "Learning"
)

_EPSILON = 1e-3
_convolve = partial(convolve_normalize, epsilon=_EPSILON)
_valid = partial(_convolve, padding="valid")

Step = tuple[int, int | tuple[int, int]]
"""A convolution's filters and kernel."""


def _inception_v4(shape: Shape, classes: int) -> Any:
    """Figure 9 of the paper; letters as there."""
    from keras import layers

    image = open_input(shape, _SMALLEST)
    x = _stem(image)
    for number in range(4):
        name = f"a{number}"
        x = _join(
            name,
            _chain(x, ((96, 1),), f"{name}_1x1"),
            _chain(x, ((64, 1), (96, 3)), f"{name}_3x3"),
            _chain(x, ((64, 1), (96, 3), (96, 3)), f"{name}_double"),
            _chain(_mean(x, name), ((96, 1),), f"{name}_pool_proj"),
        )
    x = _join(
        "reduce_a",
        _valid(x, 384, 3, 2, name="reduce_a_3x3"),
        _valid(_chain(x, ((192, 1), (224, 3)), "reduce_a_double"), 256, 3, 2, name="reduce_a_double_last"),
        layers.MaxPooling2D(3, 2, name="reduce_a_pool")(x),
    )
    for number in range(7):
        name = f"b{number}"
        x = _join(
            name,
            _chain(x, ((384, 1),), f"{name}_1x1"),
            _chain(x, ((192, 1), (224, (1, 7)), (256, (7, 1))), f"{name}_7x7"),
            _chain(x, ((192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))), f"{name}_double"),
            _chain(_mean(x, name), ((128, 1),), f"{name}_pool_proj"),
        )
    x = _join(
        "reduce_b",
        _valid(_chain(x, ((192, 1),), "reduce_b_3x3"), 192, 3, 2, name="reduce_b_3x3_last"),
        _valid(
            _chain(x, ((256, 1), (256, (1, 7)), (320, (7, 1))), "reduce_b_7x7"), 320, 3, 2, name="reduce_b_7x7_last"
        ),
        layers.MaxPooling2D(3, 2, name="reduce_b_pool")(x),
    )
    for number in range(3):
        name = f"c{number}"
        narrow = _chain(x, ((384, 1),), f"{name}_3x3")
        wide = _chain(x, ((384, 1), (448, (3, 1)), (512, (1, 3))), f"{name}_double")
        x = _join(
            name,
            _chain(x, ((256, 1),), f"{name}_1x1"),
            *(_chain(narrow, ((256, kernel),), f"{name}_3x3_{place}") for place, kernel in enumerate(((1, 3), (3, 1)))),
            *(
                _chain(wide, ((256, kernel),), f"{name}_double_{place}")
                for place, kernel in enumerate(((1, 3), (3, 1)))
            ),
            _chain(_mean(x, name), ((256, 1),), f"{name}_pool_proj"),
        )
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return close_network(image, layers.Dropout(0.2, name="dropout")(x), classes, "inception_v4")


def _stem(image: Any) -> Any:
    """Figure 3: to an eighth of the size, and 384 channels."""
    from keras import layers

    x = _valid(_valid(image, 32, 3, 2, name="stem1"), 32, 3, name="stem2")
    x = _convolve(x, 64, 3, name="stem3")
    x = _join("stem4", layers.MaxPooling2D(3, 2, name="stem4_pool")(x), _valid(x, 96, 3, 2, name="stem4_3x3"))
    x = _join(
        "stem5",
        _valid(_chain(x, ((64, 1),), "stem5_3x3"), 96, 3, name="stem5_3x3_last"),
        _valid(_chain(x, ((64, 1), (64, (7, 1)), (64, (1, 7))), "stem5_7x7"), 96, 3, name="stem5_7x7_last"),
    )
    return _join("stem6", _valid(x, 192, 3, 2, name="stem6_3x3"), layers.MaxPooling2D(3, 2, name="stem6_pool")(x))


def _inception_resnet_v1(shape: Shape, classes: int) -> Any:
    """Figures 10 to 15, with what FaceNet's implementation scales residuals by, its sixth C block and its narrow layer
    ahead of the last one: the network that is known by this name, and whose parameters are counted.
    """
    from keras import layers

    image = open_input(shape, _SMALLEST)
    x = _valid(_valid(image, 32, 3, 2, name="stem1"), 32, 3, name="stem2")
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(_convolve(x, 64, 3, name="stem3"))
    x = _valid(_valid(_convolve(x, 80, 1, name="stem4"), 192, 3, name="stem5"), 256, 3, 2, name="stem6")
    for number in range(5):
        x = _residual(x, (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (32, 3), (32, 3))), 0.17, f"a{number}")
    x = _join(
        "reduce_a",
        _valid(x, 384, 3, 2, name="reduce_a_3x3"),
        _valid(_chain(x, ((192, 1), (192, 3)), "reduce_a_double"), 256, 3, 2, name="reduce_a_double_last"),
        layers.MaxPooling2D(3, 2, name="reduce_a_pool")(x),
    )
    for number in range(10):
        x = _residual(x, (((128, 1),), ((128, 1), (128, (1, 7)), (128, (7, 1)))), 0.1, f"b{number}")
    x = _join(
        "reduce_b",
        _valid(_chain(x, ((256, 1),), "reduce_b_1"), 384, 3, 2, name="reduce_b_1_3x3"),
        _valid(_chain(x, ((256, 1),), "reduce_b_2"), 256, 3, 2, name="reduce_b_2_3x3"),
        _valid(_chain(x, ((256, 1), (256, 3)), "reduce_b_3"), 256, 3, 2, name="reduce_b_3_3x3"),
        layers.MaxPooling2D(3, 2, name="reduce_b_pool")(x),
    )
    for number in range(6):
        last = number == 5
        steps = (((192, 1),), ((192, 1), (192, (1, 3)), (192, (3, 1))))
        x = _residual(x, steps, 1.0 if last else 0.2, f"c{number}", relu=not last)
    x = layers.Dropout(0.2, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    x = layers.Dense(512, use_bias=False, name="embedding")(x)
    x = layers.BatchNormalization(epsilon=_EPSILON, name="embedding_bn")(x)
    return close_network(image, x, classes, "inception_resnet_v1")


def _residual(x: Any, chains: tuple[tuple[Step, ...], ...], scale: float, name: str, relu: bool = True) -> Any:
    """`x` and `scale` times what comes of all `chains` together, by 1x1 as wide as `x`."""
    from keras import layers

    joined = _join(name, *(_chain(x, steps, f"{name}_{place}") for place, steps in enumerate(chains)))
    change = layers.Conv2D(x.shape[-1], 1, name=f"{name}_up")(joined)
    change = layers.Rescaling(scale, name=f"{name}_scale")(change)
    x = layers.Add(name=f"{name}_add")([x, change])
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _chain(x: Any, steps: tuple[Step, ...], name: str) -> Any:
    for place, (filters, kernel) in enumerate(steps):
        x = _convolve(x, filters, kernel, name=f"{name}_{place}")
    return x


def _join(name: str, *branches: Any) -> Any:
    from keras import layers

    return layers.Concatenate(name=f"{name}_concat")(list(branches))


def _mean(x: Any, name: str) -> Any:
    from keras import layers

    return layers.AveragePooling2D(3, 1, padding="same", name=f"{name}_pool")(x)


_row = partial(
    own_network,
    year=2016,
    input_size=299,
    smallest_size=_SMALLEST,
    scaling=TF,
    source=_SOURCE,
    count="trainable ones in osmr/imgclsmob",
)

ROWS = (
    _row(
        "inception_v4",
        _inception_v4,
        42_742_984,
        trainable=42_679_816,
        family="Inception v4",
        accuracy=(0.800, 0.950, "the paper"),
    ),
    _row("inception_resnet_v1", _inception_resnet_v1, 24_025_224, trainable=23_995_624, family="Inception-ResNet v1"),
)
