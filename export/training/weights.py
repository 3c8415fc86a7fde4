"""What a network starts from: random weights, ImageNet's, or a file's."""

import os
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.architectures.architecture import Architecture
from export.data.names import escape
from export.errors import ExportError
from export.training.configuration import read_layers
from export.training.donor import check_hdf5, count_hdf5_outputs, count_outputs, describe_error, open_keras
from service.plurals import format_items

NONE = "none"
IMAGENET = "imagenet"
SUFFIXES = (".keras", ".weights.h5")

_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Start:
    """A network with its starting weights, those of its layers that already know something, and what to tell of that.

    `head` says how the last layers of the given network differ beside their number of classes, "" where they do not.
    """

    model: Any
    known: tuple[Any, ...] = ()
    head: str = ""
    warnings: tuple[str, ...] = ()


def start(architecture: Architecture, size: int, classes: int, weights: str) -> Start:
    """Builds the network and fills it.

    Where the given weights fit everything but the last layers (another number of classes, another head, another
    size), those layers stay random. Raises ExportError where weights cannot be had or are of another network.
    """
    model = architecture.build(architecture.shape(size), classes)
    if weights == NONE:
        return Start(model)
    head = ""
    told: tuple[str, ...] = ()
    if weights == IMAGENET:
        donor = _imagenet(architecture)
        known = adopt(model, donor, IMAGENET)
        absorbed = architecture.absorbs is not None and any(map(architecture.absorbs, read_layers(donor)))
    elif weights.endswith(".keras"):
        opened = open_keras(weights, architecture, size, classes)
        known = adopt(model, opened.model, escape(weights), opened.limit, opened.head)
        head, absorbed = opened.head, opened.absorbed
    else:
        absorbed = check_hdf5(weights, model, architecture)
        known = _load(model, weights)
        told = (
            f"{escape(weights)} holds no configuration: kinds of layers and shapes of weights fit {architecture.name}; "
            "whether activations, paddings, strides and epsilons do, it does not tell (a .keras file does)",
        )
    if head:
        told = (*told, f"the head of {escape(weights)} is another one and is trained anew: {head}")
    if architecture.settle is not None:
        architecture.settle(model, absorbed)
    return Start(model, known, head, told)


def count_classes(architecture: Architecture, size: int, weights: str) -> int:
    """How many classes the network answers that the given weights are of. Raises ExportError."""
    if weights == IMAGENET:
        return architecture.classes
    if weights.endswith(".keras"):
        return count_outputs(weights)
    return count_hdf5_outputs(weights, architecture, size)


def adopt(model: Any, donor: Any, name: str, limit: int | None = None, head: str = "") -> tuple[Any, ...]:
    """Copies into `model` the weights of `donor`, layer by layer, for as long as their shapes agree, at most `limit`.

    By place and not by name: Keras numbers unnamed layers through a process, so that the second of two
    equal networks has other names. Returns the layers it filled. Raises ExportError where those are
    not most of the network; `head` says why, where that is known.
    """
    filled = []
    for layer, given in zip(_weighted(model)[:limit], _weighted(donor), strict=False):
        if _shapes(given) != _shapes(layer):
            break
        layer.set_weights(given.get_weights())
        filled.append(layer)
    return _checked(model, filled, name, head)


def _load(model: Any, path: str) -> tuple[Any, ...]:
    """Fills `model` from a `.weights.h5` file, which tells layers apart by their place, not their name."""
    import numpy as np

    random = {layer.name: layer.get_weights() for layer in _weighted(model)}
    for layer in _weighted(model):  # Keras does not say what it skipped: what stays NaN
        given = layer.get_weights()
        layer.set_weights([weight if weight.dtype.kind in "iu" else np.full_like(weight, np.nan) for weight in given])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it prints every weight it skips
            model.load_weights(path, skip_mismatch=True)
    except Exception as error:  # whatever Keras raises, the file is the cause
        raise ExportError(f"{escape(path)} is not a readable .weights.h5 file: {describe_error(error)}") from error
    filled = []
    for layer in _weighted(model):
        if any(np.isnan(weight).any() for weight in layer.get_weights()):
            layer.set_weights(random[layer.name])
        else:
            filled.append(layer)
    return _checked(model, filled, escape(path))


def _checked(model: Any, filled: list[Any], name: str, head: str = "") -> tuple[Any, ...]:
    layers = _weighted(model)
    # Only the head may differ: anything else is another network's file.
    if 2 * len(filled) < len(layers) or filled != layers[: len(filled)]:
        raise ExportError(
            f"the weights of {name} fit {len(filled)} of {format_items(len(layers), 'layer')} of {model.name}; "
            f"{head or 'were they saved from another architecture?'}"
        )
    return tuple(filled)


def _weighted(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def _shapes(layer: Any) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _imagenet(architecture: Architecture) -> Any:
    assert architecture.pretrained is not None  # ExportSpec refuses the combination
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)  # Keras itself would wait for as long as the other side is silent
    try:
        return architecture.pretrained()
    except ExportError:
        raise
    except Exception as error:  # Keras wraps whatever the network does in bare exceptions
        cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
        raise ExportError(
            f"ImageNet weights for {architecture.name} could not be downloaded ({describe_error(error)}); with no "
            f"network, copy Keras' file into {cache}, give a saved model with --weights FILE, "
            "or train from random weights with --weights none"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
