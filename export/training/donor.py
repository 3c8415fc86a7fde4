"""A file of weights: what kind of file it is, and whether it holds the network it is taken for."""

import errno
import json
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.architectures.architecture import Architecture
from export.data.names import escape
from export.errors import ExportError
from export.training.configuration import (
    HEAD,
    NETWORKS,
    PASSIVE,
    Difference,
    compare,
    find_head,
    list_nested,
    read_layers,
)
from service.plurals import format_items

_HDF5 = b"\x89HDF\r\n\x1a\n"

_LARGEST_GROWTH = 20
_FREE_BYTES = 100_000_000
"""Which any file may unpack to: weights that are all zero shrink to nothing."""

_SHOWN = 4
_KERAS_2_LAYERS = "_layer_checkpoint_dependencies"
_SCALING = ("Rescaling", "Normalization")


@dataclass(frozen=True, slots=True)
class Donor:
    """A network whose weights are taken. Its first `limit` layers that have weights are those of the architecture;
    `head` says how what comes behind them differs. `absorbed`: it has a layer that the architecture absorbs.
    """

    model: Any
    limit: int
    head: str
    absorbed: bool


def open_keras(path: str, architecture: Architecture, size: int, classes: int) -> Donor:
    """The network in a `.keras` file. Raises ExportError where it is not `architecture`, with what differs."""
    import numpy as np

    name = escape(path)
    model = _load(path, name)
    check_finite(((weight.path, np.asarray(weight)) for weight in model.weights), name)
    channels = check_ends(model, name)
    if channels != architecture.channels:
        raise ExportError(
            f"{name} takes {format_items(channels, 'channel')}, and {architecture.name} takes {architecture.channels}"
        )
    theirs = read_layers(model, architecture.absorbs)
    ours = read_layers(build_reference(architecture, size, classes, model))
    if (nested := list_nested(theirs)) and not list_nested(ours):
        inner = nested[0].name
        raise ExportError(
            f"{name} holds a network inside of a layer ({nested[0].kind} {inner!r}); save that one by itself: "
            f"model.get_layer({inner!r}).save('inner.keras')"
        )
    differences = compare(theirs, ours)
    if differences and differences[0].place < find_head(ours):
        scaled = any(layer.kind in _SCALING for layer in theirs) and not any(layer.kind in _SCALING for layer in ours)
        advice = "leave scaling out of the network, export does it ahead" if scaled else "which --model is it?"
        raise ExportError(f"{name} is another network than {architecture.name}: {_list(differences)}; {advice}")
    weighted = [place for place, layer in enumerate(ours) if layer.shapes]
    limit = len(weighted)
    if differences:  # what comes behind the last weights changes what they mean, too
        limit = min(sum(place < differences[0].place for place in weighted), limit - 1)
    return Donor(model, limit, _list(differences), len(theirs) < len(read_layers(model)))


def count_outputs(path: str) -> int:
    """How many numbers the network in a `.keras` file answers an image with. Raises ExportError."""
    name = escape(path)
    model = _load(path, name)
    check_ends(model, name)
    shape = model.outputs[0].shape
    if len(shape) != 2 or not shape[-1]:
        raise ExportError(f"{name} is no classifier: it answers an image with shape {list(shape[1:])}")
    return int(shape[-1])


def count_hdf5_outputs(path: str, architecture: Architecture, size: int) -> int:
    """The same of a `.weights.h5` file of `architecture`. Raises ExportError."""
    import h5py

    name = escape(path)
    model = architecture.build(architecture.shape(size), 2)
    last = [layer for layer in model.layers if layer.weights][-1]
    kind = _snake_case(type(last).__name__)
    number = sum(_snake_case(type(layer).__name__) == kind for layer in model.layers) - 1
    layer = f"{kind}_{number}" if number else kind
    try:
        with h5py.File(path, "r") as file:
            _check_origin(file, name)
            values = file[f"layers/{layer}/vars"]
            return int(values[str(len(last.weights) - 1)].shape[-1])
    except ExportError:
        raise
    except OSError as error:
        raise ExportError(f"{name} is not a readable .weights.h5 file: {describe_error(error)}") from error
    except Exception as error:  # there is something else in that place, or nothing
        raise ExportError(
            f"{name} is of another network than {architecture.name}: it has no weights of a last layer {layer}"
        ) from error


def build_reference(architecture: Architecture, size: int, classes: int, model: Any) -> Any:
    """`architecture` as it is built for the image size and the classes of `model`, without memory for weights.

    Builders make some paddings depend on the size.
    """
    import keras

    height, width = (given or size for given in model.inputs[0].shape[1:3])
    output = model.outputs[0].shape
    with keras.StatelessScope(initialize_variables=False):
        try:
            return architecture.build(
                (height, width, architecture.channels), output[-1] if len(output) == 2 and output[-1] else classes
            )
        except ValueError:  # no size that this network is built for
            return architecture.build(architecture.shape(size), classes)


def check_hdf5(path: str, model: Any, architecture: Architecture) -> bool:
    """Judges a `.weights.h5` file by all that it tells: what wrote it, its numbers, the kinds of its layers.

    Returns whether it has a layer that `architecture` absorbs. Raises ExportError.
    """
    import h5py

    name = escape(path)
    try:
        with h5py.File(path, "r") as file:
            _check_origin(file, name)
            arrays: dict[str, Any] = {}
            file.visititems(lambda key, item: arrays.update({key: item}) if isinstance(item, h5py.Dataset) else None)
            _check_claim(sum(item.nbytes for item in arrays.values()), path, name)
            check_finite(((key, item[()]) for key, item in arrays.items()), name)
            layers = list(file["layers"]) if isinstance(file.get("layers"), h5py.Group) else []
    except ExportError:
        raise
    except Exception as error:  # whatever reading it raises, the file is the cause
        raise ExportError(f"{name} is not a readable .weights.h5 file: {describe_error(error)}") from error
    holds = {key.split("/")[1] for key in arrays if key.startswith("layers/")}
    kinds = Counter(re.sub(r"_\d+$", "", key) for key in layers)
    return _check_kinds(kinds, set(layers) > holds, model, architecture, name)


def _check_origin(file: Any, name: str) -> None:
    """Raises ExportError where an HDF5 file is a whole model, or of Keras 2."""
    if "model_config" in file.attrs:
        raise ExportError(describe_whole_model(name))
    if "layer_names" in file.attrs or _KERAS_2_LAYERS in file:
        raise ExportError(_describe_keras_2(name))


def _check_claim(size: int, path: str, name: str) -> None:
    """Raises ExportError where unpacking a file would take far more memory than it has bytes: weights hardly shrink."""
    most = max(_FREE_BYTES, _LARGEST_GROWTH * Path(path).stat().st_size)
    if size > most:
        raise ExportError(
            f"{name} claims {size / 1e6:,.0f} MB of content, and a file of its size has at most {most / 1e6:,.0f} MB"
        )


def check_finite(weights: Iterator[tuple[str, Any]], name: str) -> None:
    """Raises ExportError where a weight is NaN or infinite."""
    import numpy as np

    bad = [key for key, values in weights if values.dtype.kind in "fV" and not np.isfinite(values.astype("f4")).all()]
    if bad:
        raise ExportError(
            f"{name} holds NaN or infinity in {len(bad)} of its arrays (first: {bad[0]}): its training diverged; "
            "take a checkpoint from before that"
        )


def is_hdf5(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_HDF5)) == _HDF5


def describe_error(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def load_keras(path: str | Path, name: str, **options: Any) -> Any:
    """The network in a `.keras` file; `options` are those of Keras.

    Raises ExportError where it cannot be loaded, OSError where the disk is full that it is unpacked to.
    """
    import keras

    try:
        # Out of a zip file Keras would read all weights into memory, and then a second time.
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
            return keras.saving.load_model(folder, compile=False, **options)
    except Exception as error:  # whatever Keras raises, the file is the cause
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise ExportError(f"{name} is not a readable .keras model: {describe_error(error)}") from error


def _load(path: str, name: str) -> Any:
    if foreign := list_foreign_parts(path, name):
        raise ExportError(
            f"{name} has parts that Keras does not know ({', '.join(foreign)}), and code from a file is not run; "
            "build the network of Keras' own layers"
        )
    return load_keras(path, name)


def list_foreign_parts(path: str, name: str) -> list[str]:
    """What a `.keras` file is made of that is not Keras' own, sorted. Raises ExportError where it is no such file."""
    if is_hdf5(Path(path)):
        raise ExportError(describe_whole_model(name))
    try:
        with zipfile.ZipFile(path) as archive:
            _check_claim(sum(each.file_size for each in archive.infolist()), path, name)
            version = str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
            config = json.loads(archive.read("config.json"))
        foreign = sorted(set(_list_foreign(config.get("config"))))
    except ExportError:
        raise
    except Exception as error:  # whatever reading it raises, the file is the cause
        raise ExportError(f"{name} is not a readable .keras model: {describe_error(error)}") from error
    if version.startswith("2."):
        raise ExportError(_describe_keras_2(name))
    return foreign


def check_ends(model: Any, name: str) -> int:
    """The channels of what `model` takes. Raises ExportError where it is no network from one image to one output."""
    try:
        inputs, outputs = model.inputs, model.outputs
    except (AttributeError, ValueError):  # a subclass, or a Sequential that was never built
        inputs, outputs = (), ()
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or not inputs[0].shape[-1]:
        found = f"has {format_items(len(inputs), 'input')} and {format_items(len(outputs), 'output')}"
        if len(inputs) == len(outputs) == 1:
            found = f"takes shape {list(inputs[0].shape)}"
        raise ExportError(f"{name} is no network from one image to one output: it {found}")
    return int(inputs[0].shape[-1])


def _list_foreign(config: Any) -> Iterator[str]:
    """The classes and functions in a configuration that are not Keras' own, and Lambda, which is code."""
    if isinstance(config, dict):
        module = str(config.get("module"))
        known = module == "keras" or module.startswith("keras.")
        if "class_name" in config and "module" in config and (config["class_name"] == "Lambda" or not known):
            yield str(config.get("registered_name") or config["class_name"])
        config = list(config.values())
    if isinstance(config, list):
        for each in config:
            yield from _list_foreign(each)


def _check_kinds(theirs: Counter[str], complete: bool, model: Any, architecture: Architecture, name: str) -> bool:
    """By the folder that a `.weights.h5` file has for each layer, called by its kind.

    It is not `complete` where layers without weights have none, as some releases wrote it.
    """
    layers = read_layers(model)
    body = Counter(_snake_case(layer.kind) for layer in layers[: find_head(layers)])
    head = Counter(_snake_case(layer.kind) for layer in layers[find_head(layers) :])
    if nested := sorted((theirs - body).keys() & {_snake_case(each) for each in NETWORKS}):
        raise ExportError(
            f"{name} holds a network inside of a layer ({nested[0]}); save that one by itself: "
            "model.get_layer(NAME).save_weights('inner.weights.h5')"
        )
    if not complete:
        return False
    absorbed = architecture.absorbs is not None and theirs["rescaling"] == body["rescaling"] + 1
    # Another head may have other layers; which of these pass everything, only a configuration tells.
    free = {_snake_case(kind) for kind in (*PASSIVE, *HEAD, "InputLayer", "Activation", "Dense", "BatchNormalization")}
    extra = {kind: count for kind, count in (theirs - body - head).items() if kind not in free}
    if absorbed:
        del extra["rescaling"]
    # Operations that are no layers have no folder.
    missing = (body & Counter(_snake_case(type(layer).__name__) for layer in model.layers)) - theirs
    if extra or missing:
        told = [f"{count} {kind} more" for kind, count in extra.items()]
        told += [f"{count} {kind} fewer" for kind, count in missing.items()]
        raise ExportError(f"{name} is of another network than {architecture.name}: it has {', '.join(told)}")
    return absorbed


def _snake_case(kind: str) -> str:
    """MaxPooling2D -> max_pooling2d, ReLU -> re_lu: as Keras names the folders."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()


def describe_whole_model(name: str) -> str:
    return (
        f"{name} is a whole model in HDF5, which Keras no longer writes; open it under a name that ends in .h5 with "
        "keras.saving.load_model and save it as .keras"
    )


def _describe_keras_2(name: str) -> str:
    return (
        f"{name} was written by Keras 2, whose files Keras 3 does not read; load it with the package tf_keras, give "
        "its get_weights() to the same network built with Keras 3, and save that one as .keras"
    )


def _list(differences: Sequence[Difference]) -> str:
    told = "; ".join(each.text for each in differences[:_SHOWN])
    more = len(differences) - _SHOWN
    return f"{told}; and {more} more" if more > 0 else told
