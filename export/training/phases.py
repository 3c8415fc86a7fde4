"""In which order the layers of a network learn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from export.architectures.architecture import Recipe
from export.errors import ExportError

_PROBE_SHARE = 0.3
_FINE_TUNE_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Phase:
    """One training run with some layers held still (a frozen batch norm also keeps its statistics)."""

    title: str
    recipe: Recipe
    frozen: tuple[Any, ...] = ()


def plan(model: Any, known: Sequence[Any], recipe: Recipe, head: str = "") -> tuple[Phase, ...]:
    """All of `model` at once where it starts from nothing, or from all of its own weights.

    Where only `known` layers have weights worth keeping: the rest alone first, since a random head would
    shake what they know, then everything but batch norms at a tenth of the rate. Raises ExportError
    where a random head would stay random; `head` says why it is, where that is known.
    """
    import keras

    new = [layer for layer in model.layers if layer.weights and layer not in known]
    if known and new:
        if recipe.epochs < 2:
            raise ExportError(
                f"the starting weights fit all but the last {len(new)} layers of {model.name} "
                f"({head or 'another number of classes?'}), which have to be trained: give --epochs 2 or more"
            )
        probe = max(1, round(recipe.epochs * _PROBE_SHARE))
        gentle = replace(recipe, epochs=recipe.epochs - probe, learning_rate=recipe.learning_rate * _FINE_TUNE_RATE)
        norms = tuple(layer for layer in known if isinstance(layer, keras.layers.BatchNormalization))
        return (
            Phase("training the new head", replace(recipe, epochs=probe), tuple(known)),
            Phase("fine-tuning", gentle, norms),
        )
    return (Phase("training", recipe),) if recipe.epochs else ()
