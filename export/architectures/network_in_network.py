"""Network in Network: dense layers at every pixel, and no dense layer at the end."""

from typing import Any

from export.architectures.architecture import Recipe, Shape
from export.architectures.blocks import open_input, own_network

_SMALLEST = 16
# Without batch norm: at six times the rate the rectifiers under the answer die, and the network guesses.
_RECIPE = Recipe(epochs=40, batch_size=32, learning_rate=3e-4)


def _nin(shape: Shape, classes: int) -> Any:
    """Three stacks of one convolution and two of 1x1; the last one's maps are averaged into the answer."""
    from keras import Model, layers

    x = image = open_input(shape, _SMALLEST)
    x = _stack(x, (192, 160, 96), 5, "mlpconv1")
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    x = layers.Dropout(0.5, name="dropout1")(x)
    x = _stack(x, (192, 192, 192), 5, "mlpconv2")
    x = layers.AveragePooling2D(3, 2, padding="same", name="pool2")(x)
    x = layers.Dropout(0.5, name="dropout2")(x)
    x = _stack(x, (192, 192, classes), 3, "mlpconv3")
    x = layers.GlobalAveragePooling2D(name="pool3")(x)
    return Model(image, layers.Softmax(name="predictions")(x), name="nin")


def _stack(x: Any, filters: tuple[int, int, int], kernel: int, name: str) -> Any:
    from keras import layers

    for number, (count, size) in enumerate(zip(filters, (kernel, 1, 1), strict=True), 1):
        # Weights scaled to rectifiers: with Glorot's the signal dies out over nine layers without batch norm.
        x = layers.Conv2D(
            count, size, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_{number}"
        )(x)
    return x


ROWS = (
    own_network(
        "nin",
        _nin,
        966_986,
        family="Network in Network",
        year=2013,
        input_size=32,
        smallest_size=_SMALLEST,
        classes=10,
        recipe=_RECIPE,
        source="arXiv:1312.4400, Lin et al.: Network In Network",
        count="osmr/imgclsmob, with CIFAR-10's 10 classes",
    ),
)
