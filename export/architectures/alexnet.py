"""AlexNet, and ZFNet, which looked into it and changed its first two layers."""

from dataclasses import dataclass
from typing import Any

from export.architectures.applications import GENTLE
from export.architectures.architecture import Architecture, Shape
from export.architectures.blocks import close_network, normalize_responses, open_input, own_network


@dataclass(frozen=True, slots=True)
class Builder:
    """Five convolutions and three dense layers, on one tower: `first` is the first convolution's kernel and stride,
    `second_stride` the second's. Below `smallest` nothing is left to pool at the end.
    """

    name: str
    first: tuple[int, int]
    second_stride: int
    smallest: int

    def __call__(self, shape: Shape, classes: int) -> Any:
        from keras import layers

        image = open_input(shape, self.smallest)
        kernel, stride = self.first
        second = "same" if self.second_stride == 1 else "valid"
        x = layers.Conv2D(96, kernel, stride, activation="relu", name="conv1")(image)
        x = layers.MaxPooling2D(3, 2, name="pool1")(normalize_responses(x))
        x = layers.Conv2D(256, 5, self.second_stride, padding=second, activation="relu", name="conv2")(x)
        x = layers.MaxPooling2D(3, 2, padding="valid" if second == "same" else "same", name="pool2")(
            normalize_responses(x)
        )
        x = layers.Conv2D(384, 3, padding="same", activation="relu", name="conv3")(x)
        x = layers.Conv2D(384, 3, padding="same", activation="relu", name="conv4")(x)
        x = layers.Conv2D(256, 3, padding="same", activation="relu", name="conv5")(x)
        x = layers.Flatten(name="flatten")(layers.MaxPooling2D(3, 2, name="pool5")(x))
        for number in (6, 7):
            x = layers.Dense(4096, activation="relu", name=f"fc{number}")(x)
            x = layers.Dropout(0.5, name=f"dropout{number}")(x)
        return close_network(image, x, classes, self.name)


def _row(
    build: Builder, parameters: int, family: str, year: int, source: str, count: str, accuracy: tuple[float, float, str]
) -> Architecture:
    return own_network(
        build.name,
        build,
        parameters,
        family=family,
        year=year,
        input_size=227,
        smallest_size=build.smallest,
        recipe=GENTLE,
        source=source,
        count=count,
        accuracy=accuracy,
    )


ROWS = (
    _row(
        Builder("alexnet", first=(11, 4), second_stride=1, smallest=67),
        62_378_344,
        "AlexNet",
        2012,
        "NeurIPS 2012, Krizhevsky et al.: ImageNet Classification with Deep Convolutional Neural Networks",
        "osmr/imgclsmob, without the groups that split it over two GPUs",
        (0.593, 0.818, "the paper"),
    ),
    _row(
        Builder("zfnet", first=(7, 2), second_stride=2, smallest=59),
        62_357_608,
        "ZFNet",
        2013,
        "arXiv:1311.2901, Zeiler and Fergus: Visualizing and Understanding Convolutional Networks",
        "osmr/imgclsmob",
        (0.616, 0.835, "the paper"),
    ),
)
