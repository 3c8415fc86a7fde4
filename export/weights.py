"""What a network starts from: random weights, ImageNet's, or a file's."""

import os
import socket
import warnings
import zipfile
from pathlib import Path
from typing import Any

from export.architectures.architecture import Architecture
from export.errors import ExportError

NONE = "none"
IMAGENET = "imagenet"
SUFFIXES = (".keras", ".weights.h5")

_PATIENCE = 20.0


def start(architecture: Architecture, size: int, classes: int, weights: str) -> tuple[Any, tuple[Any, ...]]:
    """A network with its starting weights, and those of its layers that already know something.

    Where the given weights fit everything but the last layers (another number of classes, another
    size), those layers stay random. Raises ExportError where weights cannot be had or fit no better.
    """
    model = architecture.build(architecture.shape(size), classes)
    if weights == NONE:
        return model, ()
    if weights == IMAGENET:
        known = adopt(model, _imagenet(architecture), IMAGENET)
    elif weights.endswith(".keras"):
        known = adopt(model, _saved_model(weights), weights)
    else:
        known = _load(model, weights)
    if architecture.settle is not None:
        architecture.settle(model)
    return model, known


def adopt(model: Any, donor: Any, name: str) -> tuple[Any, ...]:
    """Copies into `model` the weights of `donor`, layer by layer, for as long as their shapes agree.

    By place and not by name: Keras numbers unnamed layers through a process, so that the second of two
    equal networks has other names. Returns the layers it filled. Raises ExportError where those are
    not most of the network.
    """
    filled = []
    for layer, given in zip(_weighted(model), _weighted(donor), strict=False):
        if _shapes(given) != _shapes(layer):
            break
        layer.set_weights(given.get_weights())
        filled.append(layer)
    return _checked(model, filled, name)


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
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"{path} is not a readable .weights.h5 file: {_line(error)}") from error
    filled = []
    for layer in _weighted(model):
        if any(np.isnan(weight).any() for weight in layer.get_weights()):
            layer.set_weights(random[layer.name])
        else:
            filled.append(layer)
    return _checked(model, filled, path)


def _checked(model: Any, filled: list[Any], name: str) -> tuple[Any, ...]:
    layers = _weighted(model)
    # Only the head may differ: anything else is another network's file.
    if 2 * len(filled) < len(layers) or filled != layers[: len(filled)]:
        raise ExportError(
            f"the weights of {name} fit {len(filled)} of {len(layers)} layers of {model.name}; "
            "were they saved from another architecture?"
        )
    return tuple(filled)


def _weighted(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def _shapes(layer: Any) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _saved_model(path: str) -> Any:
    import keras

    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} is not a readable .keras model: {_line(error)}") from error


def _imagenet(architecture: Architecture) -> Any:
    assert architecture.pretrained is not None  # ExportSpec refuses the combination
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)  # Keras itself would wait for as long as the other side is silent
    try:
        return architecture.pretrained()
    except Exception as error:  # Keras wraps whatever the network does in bare exceptions
        cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
        raise ExportError(
            f"ImageNet weights for {architecture.name} could not be downloaded ({_line(error)}); with no "
            f"network, copy Keras' file into {cache}, give a saved model with --weights FILE, "
            "or train from random weights with --weights none"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
