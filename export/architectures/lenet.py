"""LeNet-5."""

from typing import Any

from export.architectures.architecture import Architecture, Recipe, Scaling, Shape


def _lenet5(shape: Shape, classes: int) -> Any:
    """Conv 6 - pool - conv 16 - pool - dense 120 - 84 - classes, tanh between, average pooling.

    As usually built today: tanh without LeCun's 1.7159 gain, pooling without trained coefficients,
    every map of the second convolution connected, softmax for the radial basis output, and the
    third convolution, which sees a 5x5 map once, as the dense layer it equals.
    """
    from keras import Model, layers

    image = layers.Input(shape, name="tensor")
    x = layers.Conv2D(6, 5, padding="same", activation="tanh", name="c1")(image)
    x = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = layers.AveragePooling2D(2, name="s4")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(120, activation="tanh", name="c5")(x)
    x = layers.Dense(84, activation="tanh", name="f6")(x)
    return Model(image, layers.Dense(classes, activation="softmax", name="output")(x), name="lenet5")


ROWS = (
    Architecture(
        name="lenet5",
        family="LeNet",
        year=1998,
        build=_lenet5,
        input_size=28,
        smallest_size=20,
        channels=1,
        # LeCun's own input levels, background -0.1 and ink 1.175: mean near 0, variance near 1.
        scaling=Scaling(scale=(0.005,), offset=(-0.1,)),
        recipe=Recipe(epochs=40, batch_size=32, learning_rate=4e-3),
        parameters=61_706,
        classes=10,
        source="LeCun et al.: Gradient-based learning applied to document recognition, 1998",
    ),
)
