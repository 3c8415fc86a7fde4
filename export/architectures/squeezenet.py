"""SqueezeNet: AlexNet's accuracy with a fiftieth of its weights."""

from dataclasses import dataclass
from typing import Any

from export.architectures.architecture import Recipe, Shape
from export.architectures.blocks import open_input, own_network

_SMALLEST = 32
# Without batch norm: at three times the rate the rectifiers under the answer die, and the network guesses.
_RECIPE = Recipe(epochs=30, batch_size=32, learning_rate=3e-4)
# Squeeze, and expand of each kind, of fire2 to fire9: table 1 of the paper.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


@dataclass(frozen=True, slots=True)
class Builder:
    """`first` is the first convolution's filters and kernel; `pools` are the fire modules, from 2, that a pooling
    follows.
    """

    name: str
    first: tuple[int, int]
    pools: tuple[int, int]

    def __call__(self, shape: Shape, classes: int) -> Any:
        from keras import Model, layers

        image = open_input(shape, _SMALLEST)
        filters, kernel = self.first
        x = layers.Conv2D(filters, kernel, 2, activation="relu", name="conv1")(image)
        x = _pool(x, "pool1")
        for number, (squeeze, expand) in enumerate(_FIRES, 2):
            x = _fire(x, squeeze, expand, f"fire{number}")
            if number in self.pools:
                x = _pool(x, f"pool{number}")
        x = layers.Dropout(0.5, name="dropout")(x)
        x = layers.Conv2D(classes, 1, activation="relu", name="conv10")(x)
        x = layers.GlobalAveragePooling2D(name="pool10")(x)
        return Model(image, layers.Softmax(name="predictions")(x), name=self.name)


def _pool(x: Any, name: str) -> Any:
    """The largest of 3x3 at every second pixel; what is left at the end counts, as in Caffe."""
    from keras import layers

    return layers.MaxPooling2D(3, 2, padding="valid" if x.shape[1] % 2 else "same", name=name)(x)


def _fire(x: Any, squeeze: int, expand: int, name: str) -> Any:
    """Few 1x1 filters in, then as many 1x1 as 3x3 out."""
    from keras import layers

    x = layers.Conv2D(squeeze, 1, activation="relu", kernel_initializer="he_uniform", name=f"{name}_squeeze")(x)
    sides = [
        layers.Conv2D(
            expand, kernel, padding="same", activation="relu", kernel_initializer="he_uniform", name=f"{name}_{kernel}"
        )(x)
        for kernel in (1, 3)
    ]
    return layers.Concatenate(name=f"{name}_concat")(sides)


def _row(
    version: str, parameters: int, first: tuple[int, int], pools: tuple[int, int], what: str, accuracy: Any
) -> Any:
    name = f"squeezenet{version}"
    return own_network(
        name,
        Builder(name, first, pools),
        parameters,
        family="SqueezeNet",
        year=2016,
        smallest_size=_SMALLEST,
        recipe=_RECIPE,
        source="arXiv:1602.07360, Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and "
        f"<0.5MB model size{what}",
        count="torchvision",
        accuracy=(*accuracy, "torchvision"),
    )


ROWS = (
    _row("1_0", 1_248_424, (96, 7), (4, 8), "", (0.581, 0.804)),
    _row("1_1", 1_235_496, (64, 3), (3, 5), " (the authors' later release, 2.4 times as fast)", (0.582, 0.806)),
)
