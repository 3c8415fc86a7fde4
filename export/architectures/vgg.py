"""VGG: the larger two from Keras' own builders, the smaller two built here."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from export.architectures.applications import CAFFE, GENTLE, network
from export.architectures.architecture import Shape
from export.architectures.blocks import close_network, open_input, own_network

_SMALLEST = 32
_SOURCE = "arXiv:1409.1556, Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition"


@dataclass(frozen=True, slots=True)
class Builder:
    """Five stages of 3x3 convolutions, `repeats` in each, pooling between, and three dense layers."""

    name: str
    repeats: tuple[int, int, int, int, int]

    def __call__(self, shape: Shape, classes: int) -> Any:
        from keras import layers

        x = image = open_input(shape, _SMALLEST)
        for stage, (repeats, filters) in enumerate(zip(self.repeats, (64, 128, 256, 512, 512), strict=True), 1):
            for number in range(1, repeats + 1):
                name = f"block{stage}_conv{number}"
                x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
            x = layers.MaxPooling2D(2, name=f"block{stage}_pool")(x)
        x = layers.Flatten(name="flatten")(x)
        for number in (1, 2):
            x = layers.Dense(4096, activation="relu", name=f"fc{number}")(x)
        return close_network(image, x, classes, self.name)


_vgg = partial(
    network,
    licence="CC-BY-4.0",
    family="VGG",
    year=2014,
    scaling=CAFFE,
    recipe=GENTLE,
    source=_SOURCE,
)

_own = partial(
    own_network,
    family="VGG",
    year=2014,
    smallest_size=_SMALLEST,
    scaling=CAFFE,
    recipe=GENTLE,
    source=_SOURCE,
    count="torchvision",
)

ROWS = (
    _own("vgg11", Builder("vgg11", (1, 1, 2, 2, 2)), 132_863_336, accuracy=(0.690, 0.886, "torchvision")),
    _own("vgg13", Builder("vgg13", (2, 2, 2, 2, 2)), 133_047_848, accuracy=(0.699, 0.892, "torchvision")),
    _vgg("vgg16", "VGG16", 138_357_544, top1=0.713, top5=0.901),
    _vgg("vgg19", "VGG19", 143_667_240, top1=0.713, top5=0.900),
)
