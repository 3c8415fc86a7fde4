"""Rows over keras.applications: Keras' own builders and weights, nothing rebuilt.

What a builder would do to pixels inside its graph is a row's `Scaling` instead, ahead of the `tensor`
signature, wherever the builder leaves the choice.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
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

    `amend` is called with every network it builds. `alpha` multiplies the channels of every layer; None where the
    function has no such argument.
    """

    name: str
    bare: bool
    amend: Callable[[Any], None] | None
    alpha: float | None = None

    def __call__(self, shape: Shape, classes: int) -> Any:
        return self._call(input_shape=shape, classes=classes, weights=None)

    def pretrained(self) -> Any:
        return self._call(weights="imagenet")

    def _call(self, **arguments: Any) -> Any:
        from keras import applications

        if self.bare:
            arguments["include_preprocessing"] = False
        if self.alpha is not None:
            arguments["alpha"] = self.alpha
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
    licence: str = "",
    top5: float | None = None,
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
    alphas: tuple[float, ...] = (),
) -> Architecture:
    """The row of one function of keras.applications, with ImageNet's 1000 classes.

    `top1` and `top5` are from the table in Keras' documentation (https://keras.io/api/applications), and so is
    `parameters` where `count` does not say otherwise; MobileNet V3's accuracy is in the docstring of its builders.
    `licence` is that of the weights, where Keras 2.3's documentation names it (docs/templates/applications.md of
    keras-team/keras; "the BSD license" of ResNet V2 is fb.resnet.torch's, of three clauses). Newer ones name none.
    """
    build = Builder(builder, bare, amend, 1.0 if alphas else None)
    return Architecture(
        name=name,
        family=family,
        year=year,
        build=build,
        pretrained=build.pretrained,
        weights_by="Keras",
        licence=licence,
        input_size=input_size,
        smallest_size=smallest_size,
        channels=3,
        scaling=scaling,
        recipe=recipe,
        parameters=parameters,
        classes=1000,
        top1=top1,
        top5=top5,
        measured_by="Keras",
        alphas=alphas,
        source=f"{source}; count: {count}",
    )


def widen(row: Architecture, alpha: float) -> Architecture:
    """The row of the same network with `alpha` times the channels, which is another network with a name of its own.

    Nothing is published of it but Keras' weights, for some. Raises ValueError where the width is fixed.
    """
    if not row.alphas or not isinstance(row.build, Builder):
        raise ValueError(f"the width of {row.name} is fixed")
    if alpha == 1:
        return row
    build = replace(row.build, alpha=alpha)
    has_weights = alpha in row.alphas
    return replace(
        row,
        name=f"{row.name}_{alpha:g}",
        build=build,
        pretrained=build.pretrained if has_weights else None,
        weights_by=row.weights_by if has_weights else "",
        licence=row.licence if has_weights else "",
        parameters=0,
        top1=None,
        top5=None,
        measured_by="",
    )


def rounded(published: str) -> str:
    """`count` where only millions are published, such as "5.5M"."""
    return f"as Keras builds it, published as {published}"
