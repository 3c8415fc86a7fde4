"""What one row of the registry says about a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from export.training.configuration import Layer

Shape = tuple[int, int, int]
"""Height, width, channels of what a network takes."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How pixels (0 to 255) become a network's input: `pixel * scale + offset`, channel by channel.

    One number serves every channel; otherwise one a channel, in `order`, which is how the network
    takes them.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    order: Literal["RGB", "BGR"] = "RGB"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Training settings that suit a network on a small dataset, from random weights."""

    epochs: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network: how to build it, feed it and train it, and what was published about it.

    `build(shape, classes)` returns an untrained `keras.Model` from float32 [N, height, width, channels]
    to probabilities, float32 [N, classes]. `pretrained()` returns the same network with ImageNet
    weights and 1000 classes at its published size (it may download), or is None where nobody
    publishes any; `weights_by` says who does. `settle(model, absorbed)`, where there is one, is called once
    starting weights are in; `absorbed` is whether they are from a network with one more layer, which
    `absorbs` knows and `settle` makes up for. All import Keras themselves, so that the table is free to read.
    """

    name: str
    family: str
    year: int
    build: Callable[[Shape, int], Any]
    input_size: int
    smallest_size: int
    channels: int
    scaling: Scaling
    recipe: Recipe
    parameters: int
    """As published, with `classes` classes at `input_size`; a test holds `build` against it."""
    classes: int
    source: str
    """The paper first, as short as it can be found by, then where the count comes from."""
    trainable: int | None = None
    """As published, where only the trainable ones of `parameters` are counted; held by the same test."""
    top1: float | None = None
    """The share of ImageNet's validation images that it gets right, as published by `measured_by`; with weights of its
    own these are `pretrained()` and `weights_by`."""
    top5: float | None = None
    """The same, where the right class is among the five most likely."""
    measured_by: str = ""
    """A name in `publishers.PUBLISHERS`, or THE_PAPER."""
    pretrained: Callable[[], Any] | None = None
    weights_by: str = ""
    licence: str = ""
    """Of the weights, as SPDX names it; "" where nobody has looked it up: ask who publishes them."""
    alphas: tuple[float, ...] = ()
    """Widths that there are weights for, where the width can be chosen."""
    settle: Callable[[Any, bool], None] | None = None
    absorbs: Callable[[Layer], bool] | None = None
    auxiliary: Callable[[Any], tuple[Any, ...]] | None = None
    """Answers of new heads in the middle of a network that `build` made, float32 [N, classes], for its training."""

    def shape(self, size: int) -> Shape:
        return (size, size, self.channels)
