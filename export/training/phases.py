"""In which order the layers of a network learn, how fast, and which of them do not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from export.architectures.architecture import Recipe
from export.errors import ExportError
from export.training.blocks import Block, find_blocks
from export.training.options import ALL, FINE_TUNE, FULL, LINEAR_PROBE, NONE, TrainingOptions, count_unfrozen
from service.plurals import format_items

LARGE = 200
"""Images a class from which on a data set is large enough to train most of a given network."""

_FINE_TUNE_RATE = 0.1
_FEWEST_STEPS = 100
_FEWEST_STEPS_FROM_SCRATCH = 400
"""MobileNetV3-Small on digits at 64x64: 0.96 and 0.98 of the held-out images after 252 steps, 0.99 after 420."""
_SMALLEST_BATCH = 8
_FEWEST_BATCHES = 8
"""In an epoch: a small data set takes a smaller batch, so that an epoch has more than a step or two."""

# A linear probe trains one layer on features that are there already: thousands of steps are seconds.
_PROBE_RATE = 5e-3
_PROBE_STEPS = 3000
_PROBE_EPOCHS = (10, 100)

# Of blocks, where --unfreeze does not say.
_UNFROZEN_SMALL, _UNFROZEN_LARGE = "0.4", ALL


@dataclass(frozen=True, slots=True)
class Phase:
    """One training run with some layers held still (a frozen batch norm also keeps its statistics).

    `cached`: what the frozen layers compute is computed once. `rates` is a layer's share of the recipe's learning
    rate, 1 for those it does not name.
    """

    title: str
    recipe: Recipe
    frozen: tuple[Any, ...] = ()
    cached: bool = False
    rates: Mapping[str, float] = field(default_factory=dict)
    description: str = ""


def fit_recipe(
    recipe: Recipe, images: int, explicit: frozenset[str] = frozenset(), steps: int = _FEWEST_STEPS
) -> Recipe:
    """`recipe`, for so many images to train on: smaller batches and more epochs for few, so that there are as many
    `steps` at least, but what is `explicit`.
    """
    batch, epochs = recipe.batch_size, recipe.epochs
    if "batch_size" not in explicit:
        batch = min(batch, max(_SMALLEST_BATCH, images // _FEWEST_BATCHES // 8 * 8))
    if "epochs" not in explicit:
        epochs = max(epochs, math.ceil(steps / count_steps(images, batch)))
    return replace(recipe, batch_size=batch, epochs=epochs)


def count_steps(images: int, batch: int) -> int:
    """Of one epoch."""
    return math.ceil(images / batch)


def split_head(model: Any, known: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Layers with weights: the backbone that `known` weights fill, and the head behind it, at least the last layer."""
    layers = [layer for layer in model.layers if layer.weights]
    head = tuple(layer for layer in layers if layer not in known) or (layers[-1],)
    return tuple(layer for layer in layers if layer not in head), head


def plan(
    model: Any,
    known: Sequence[Any],
    strategy: str,
    recipe: Recipe,
    options: TrainingOptions,
    images: int,
    per_class: float,
    head: str = "",
) -> tuple[Phase, ...]:
    """The phases of `strategy` for a network whose `known` layers have weights worth keeping.

    `images` is how many there are to train on, `per_class` of a class. Raises ExportError where a random head would
    stay random; `head` says why it is, where that is known.
    """
    layers = [layer for layer in model.layers if layer.weights]
    new = [layer for layer in layers if layer not in known]
    if strategy == NONE:
        if known and new:
            raise ExportError(
                f"the starting weights fit all but the last {format_items(len(new), 'layer')} of {model.name} "
                f"({head or 'another number of classes?'}), which have to be trained: give --strategy auto, and no "
                "--epochs 0"
            )
        return ()
    if strategy == FULL:
        steps = _FEWEST_STEPS if known else _FEWEST_STEPS_FROM_SCRATCH
        fitted = fit_recipe(recipe, images, options.explicit, steps)
        return (
            Phase(
                "training",
                fitted,
                description=f"all {format_items(len(layers), 'layer')}, learning rate {fitted.learning_rate:g}",
            ),
        )
    backbone, last = split_head(model, known)
    probe = Phase(
        "training a new head on the network's features" if new else "training the head on the network's features",
        _fit_probe(recipe, images, options.explicit, alone=strategy == LINEAR_PROBE),
        backbone,
        cached=True,
        description=f"{_name_layers(last)}; frozen, and computed once an image: "
        f"{format_items(len(backbone), 'layer')} before",
    )
    if strategy == LINEAR_PROBE:
        return (probe,)
    assert strategy == FINE_TUNE
    blocks = find_blocks(model, backbone)
    return probe, _fine_tune(blocks, backbone, recipe, options, images, per_class)


def _fit_probe(recipe: Recipe, images: int, explicit: frozenset[str], alone: bool) -> Recipe:
    """Where a fine-tuning follows, `--epochs` is that one's."""
    batch = fit_recipe(recipe, images, explicit).batch_size
    if not (alone and "epochs" in explicit):
        least, most = _PROBE_EPOCHS
        recipe = replace(recipe, epochs=min(most, max(least, _PROBE_STEPS // count_steps(images, batch))))
    if "learning_rate" not in explicit:
        recipe = replace(recipe, learning_rate=_PROBE_RATE)
    return replace(recipe, batch_size=batch)


def _fine_tune(
    blocks: Sequence[Block],
    backbone: Sequence[Any],
    recipe: Recipe,
    options: TrainingOptions,
    images: int,
    per_class: float,
) -> Phase:
    import keras

    fitted = fit_recipe(recipe, images, options.explicit)
    fitted = replace(fitted, learning_rate=fitted.learning_rate * _FINE_TUNE_RATE)
    asked = options.unfreeze or (_UNFROZEN_LARGE if per_class >= LARGE else _UNFROZEN_SMALL)
    count = count_unfrozen(asked, len(blocks))
    trained = blocks[len(blocks) - count :]
    norms = [layer for layer in backbone if isinstance(layer, keras.layers.BatchNormalization)]
    still = {id(layer) for block in blocks[: len(blocks) - count] for layer in block.layers} | set(map(id, norms))
    rates = {
        layer.name: options.layer_decay ** (count - place)
        for place, block in enumerate(trained)
        for layer in block.layers
        if id(layer) not in still
    }
    names = [block.name for block in trained]
    lowest = fitted.learning_rate * min(rates.values(), default=1.0)
    return Phase(
        "fine-tuning",
        fitted,
        tuple(layer for layer in backbone if id(layer) in still),
        rates={name: rate for name, rate in rates.items() if rate != 1},
        description=(
            f"{count} of {format_items(len(blocks), 'block')} ({_list(names)}) and the head, learning rate "
            f"{lowest:.2g} in front to "
            f"{fitted.learning_rate:.2g} in the head; batch norms keep their statistics"
        ),
    )


def _name_layers(layers: Sequence[Any]) -> str:
    names = [layer.name for layer in layers]
    return f"the layer {names[0]} learns" if len(names) == 1 else f"the layers {_list(names)} learn"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"
