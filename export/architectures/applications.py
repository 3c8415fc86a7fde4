"""Rows over keras.applications: Keras' own builders and weights, nothing rebuilt.

What a builder would do to pixels inside its graph is a row's `Scaling` instead, ahead of the `tensor`
signature, wherever the builder leaves the choice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from export.architectures.architecture import Architecture, Recipe, Scaling, Shape

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# The three modes of keras.applications' preprocess_input, by its own names for them.
TF = Scaling(scale=(1 / 127.5,), offset=(-1.0,))
TORCH = Scaling(
    scale=tuple(1 / (255 * deviation) for deviation in _DEVIATION),
    offset=tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)),
)
CAFFE = Scaling(scale=(1.0,), offset=(-103.939, -116.779, -123.68), order="BGR")

RAW = Scaling(scale=(1.0,), offset=(0.0,))
"""0 to 255 as they are: the graph itself goes on from there."""

# From random weights on some thousand images, by kind of network and not tuned one by one: those without
# batch norm (VGG, ConvNeXt) take small steps.
SMALL = Recipe(epochs=12, batch_size=64, learning_rate=2e-3)
LARGE = Recipe(epochs=12, batch_size=32, learning_rate=1e-3)
GENTLE = Recipe(epochs=12, batch_size=32, learning_rate=1e-4)


@dataclass(frozen=True, slots=True)
class Builder:
    """A function of keras.applications, by name; `bare` where it would preprocess and can be told not to.

    `amend` is called with every network it builds.
    """

    name: str
    bare: bool
    amend: Callable[[Any], None] | None

    def __call__(self, shape: Shape, classes: int) -> Any:
        return self._call(input_shape=shape, classes=classes, weights=None)

    def pretrained(self) -> Any:
        return self._call(weights="imagenet")

    def _call(self, **arguments: Any) -> Any:
        from keras import applications

        if self.bare:
            arguments["include_preprocessing"] = False
        model = getattr(applications, self.name)(**arguments)
        if self.amend is not None:
            self.amend(model)
        return model


def network(
    name: str,
    builder: str,
    parameters: int,
    *,
    top1: float,
    family: str,
    year: int,
    source: str,
    scaling: Scaling,
    recipe: Recipe = LARGE,
    input_size: int = 224,
    smallest_size: int = 32,
    bare: bool = False,
    amend: Callable[[Any], None] | None = None,
    count: str = "Keras' table",
) -> Architecture:
    """The row of one function of keras.applications, with ImageNet's 1000 classes.

    `top1` is from the table in Keras' documentation (https://keras.io/api/applications), and so is `parameters` where
    `count` does not say otherwise; MobileNet V3's accuracy is in the docstring of its builders.
    """
    build = Builder(builder, bare, amend)
    return Architecture(
        name=name,
        family=family,
        year=year,
        build=build,
        pretrained=build.pretrained,
        weights_by="Keras",
        input_size=input_size,
        smallest_size=smallest_size,
        channels=3,
        scaling=scaling,
        recipe=recipe,
        parameters=parameters,
        classes=1000,
        top1=top1,
        source=f"{source}; count: {count}",
    )


def rounded(published: str) -> str:
    """`count` where only millions are published, such as "5.5M"."""
    return f"as Keras builds it, published as {published}"
