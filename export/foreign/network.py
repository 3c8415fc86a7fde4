"""A network in a file or folder, opened: what it takes, what it answers, and how it has pixels scaled."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.architectures.applications import RAW
from export.architectures.architecture import Architecture
from export.data import pixels
from export.data.dataset import Dataset
from export.data.names import escape
from export.errors import ExportError
from export.foreign.lite import LiteNetwork, inspect
from export.foreign.options import KERAS, Foreign
from export.training import donor
from export.training.configuration import NETWORKS
from export.verify.parity import compute_probabilities
from service.plurals import format_items
from service.types import DEFAULT_SIGNATURE

_CHANNELS = (1, 3)
_LARGEST_SCALE = 1 / 50
"""Of a Rescaling that makes small numbers of pixels from 0 to 255."""
_LEAST_MEAN = 2.0
"""Of a Normalization of pixels from 0 to 255: where they come from 0 to 1, it is below."""
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Opened:
    """`row` describes the network, whose image size is `size`; `scaled_by` is the layer that scales pixels, or ""."""

    model: Any
    row: Architecture
    size: int
    scaled_by: str


def open_network(foreign: Foreign, image_size: int | None) -> Opened:
    """`image_size` is for a network that takes images of any size. Raises ExportError, one line."""
    name = escape(foreign.path)
    if foreign.path.suffix == KERAS:
        model = _load_keras(foreign, name)
        donor.check_finite(((weight.path, np.asarray(weight)) for weight in model.weights), name)
    else:
        model = _load_saved_model(foreign.path, name, image_size)
    channels = donor.check_ends(model, name)
    _check_batch(model.inputs[0].shape[0], name)
    if channels not in _CHANNELS:
        raise ExportError(f"{name} takes {format_items(channels, 'channel')}; images have 1 or 3")
    height, width = model.inputs[0].shape[1:3]
    if height != width:
        raise ExportError(f"{name} takes images of {height}x{width} pixels, and only square ones can be published")
    size = _find_size(height, name, image_size)
    output = model.outputs[0].shape
    if len(output) != 2 or not output[-1] or output[-1] < 2:
        raise ExportError(
            f"{name} answers an image with shape {list(output[1:])}, and a classifier answers one number a class, two "
            "at least"
        )
    scaled_by = next(_find_scaling(model), "")
    if foreign.scaling is None and not scaled_by:
        raise ExportError(
            f"{name} does not scale pixels itself (it has no Rescaling or Normalization of values from 0 to 255): "
            "give --preprocessing, as it was trained; raw if it takes them as they are"
        )
    _check_scaling(foreign, channels, name)
    row = replace(
        foreign.describe(),
        scaling=foreign.scaling or RAW,
        channels=channels,
        input_size=size,
        parameters=model.count_params(),
        classes=int(output[-1]),
    )
    return Opened(model, row, size, scaled_by)


def open_lite(foreign: Foreign, image_size: int | None) -> Opened:
    """The same of a `.tflite` file, as a LiteNetwork. Raises ExportError, one line."""
    name = escape(foreign.path)
    try:
        data = foreign.path.read_bytes()
        entry = inspect(data, name)
        model = LiteNetwork(data, entry)
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"{name} cannot be opened: {error}") from error
    _check_scaling(foreign, entry.channels, name)
    size = _find_size(entry.size, name, image_size)
    row = replace(
        foreign.describe(),
        channels=entry.channels,
        input_size=size,
        parameters=entry.parameters,
        classes=entry.classes,
    )
    return Opened(model, row, size, "")


def _check_scaling(foreign: Foreign, channels: int, name: str) -> None:
    scaling = foreign.scaling
    if channels == 1 and scaling is not None and max(len(scaling.scale), len(scaling.offset)) > 1:
        raise ExportError(
            f"{name} takes one channel, and --preprocessing torch and caffe scale each of three by itself: give tf, "
            "raw or SCALE,OFFSET, as it was trained"
        )


def settle_answers(model: Any, row: Architecture, dataset: Dataset) -> tuple[Any, str]:
    """A network that answers with probabilities, and what to warn of, "" where `model` does so itself.

    Judged by what it makes of the dataset's examples: logits get a softmax. Raises ExportError where the answers are
    independent of each other, such as those of several labels at once.
    """
    import keras

    images = np.asarray(dataset.held_out.images[: len(dataset.examples)])
    answers = compute_probabilities(model, pixels.to_tensor(images, row).numpy())
    sums, shares = answers.sum(-1), bool((answers >= 0).all() and (answers <= 1 + _SUM_TOLERANCE).all())
    # Where answers are integers, most of many classes round to 0: a sum far below 1 says nothing, one above does.
    step = model.entry.step if isinstance(model, LiteNetwork) else 0.0
    rounded = step > 0 and sums.max() <= 1 + answers.shape[-1] * step / 2
    if shares and (rounded or np.abs(sums - 1).max() <= _SUM_TOLERANCE):
        return model, ""
    if shares:
        raise ExportError(
            "the network's answers lie between 0 and 1 and do not sum to 1: it tells of each label by itself, and what "
            "is published answers with one class of several"
        )
    if isinstance(model, LiteNetwork):
        settled: Any = LiteNetwork(model.data, model.entry, softmax=True)
    else:
        settled = keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]))
        settled.count_params = model.count_params
    return settled, "the network answers with logits: a softmax is added to it"


def _load_keras(foreign: Foreign, name: str) -> Any:
    custom = _import_objects(foreign.custom_objects)
    foreign_parts = donor.list_foreign_parts(str(foreign.path), name)
    if "Lambda" in foreign_parts and not foreign.runs_code:
        raise ExportError(
            f"{name} has a Lambda layer, which is Python code in the file: --allow-lambda runs it, if you trust it"
        )
    named = [each for each in foreign_parts if each != "Lambda"]
    missing = [each for each in named if each.split(">")[-1] not in custom and not _registered(each)]
    if missing:
        raise ExportError(
            f"{name} has parts that Keras does not know ({', '.join(missing)}): give the Python file that defines them "
            "with --custom-objects"
        )
    return donor.load_keras(foreign.path, name, custom_objects=custom, safe_mode=not foreign.runs_code)


def _registered(name: str) -> bool:
    from keras.saving import get_registered_object

    return get_registered_object(name) is not None


def _import_objects(module: str) -> dict[str, Any]:
    """What a module or a Python file defines, by name. Raises ExportError."""
    if not module:
        return {}
    try:
        if module.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(module).stem, module)
            assert spec is not None and spec.loader is not None
            loaded = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(spec.name, loaded)
            spec.loader.exec_module(loaded)
        else:
            loaded = importlib.import_module(module)
    except Exception as error:  # it is the user's code, which may fail in any way
        raise ExportError(f"--custom-objects {module} cannot be imported: {donor.describe_error(error)}") from error
    return {key: value for key, value in vars(loaded).items() if callable(value) and not key.startswith("_")}


def _load_saved_model(path: Path, name: str, image_size: int | None) -> Any:
    """Its default signature as a Keras model, from one image to one output."""
    import keras
    import tensorflow as tf

    from export.quiet import silenced

    try:
        with silenced():
            loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ExportError(f"{name} cannot be loaded: {donor.describe_error(error)}") from error
    signatures = dict(loaded.signatures)
    if not signatures:
        raise ExportError(f"{name} has no signatures; save it with tf.saved_model.save or model.export")
    call = signatures.get(DEFAULT_SIGNATURE) or next(iter(signatures.values()))
    inputs, outputs = call.structured_input_signature[1], call.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ExportError(
            f"{name} is no network from one image to one output: it has "
            f"{format_items(len(inputs), 'input')} and {format_items(len(outputs), 'output')}"
        )
    ((alias, spec),), ((answer, answered),) = inputs.items(), outputs.items()
    if spec.dtype == tf.string:
        raise ExportError(
            f"{name} takes encoded images already, and is finished: the service and TensorFlow Serving run it from "
            "REPOSITORY/NAME/1"
        )
    if spec.shape.rank != 4:
        raise ExportError(f"{name} takes shape {spec.shape}, and images are [N, height, width, channels]")

    if spec.dtype == tf.bool or not answered.dtype.is_floating:
        raise ExportError(
            f"{name} takes {spec.dtype.name} and answers {answered.dtype.name}; a classifier takes numbers and answers "
            "a float a class"
        )
    _check_batch(spec.shape[0], name)

    class Signature(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
        graph = loaded  # which holds the variables that `call` reads

        def call(self, images: Any) -> Any:
            return call(**{alias: tf.cast(images, spec.dtype)})[answer]

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], answered.shape[-1])

    height, width = (given or image_size for given in spec.shape[1:3])
    image = keras.layers.Input((height, width, spec.shape[3]), name="tensor")
    model = keras.Model(image, Signature(name="signature")(image), name="saved_model")
    count = _count_parameters(call)
    model.count_params = lambda: count  # Keras knows nothing of the weights of a graph
    return model


def _check_batch(size: int | None, name: str) -> None:
    if size is not None:
        raise ExportError(
            f"{name} takes exactly {format_items(size, 'image')} at once; save it with an open first "
            "dimension (None), so that batches "
            "of any size can be asked"
        )


def _count_parameters(function: Any) -> int:
    """Of a signature's variables; of a frozen graph its constants, where they are float arrays."""
    variables = [int(np.prod(each.shape)) for each in function.variables]
    constants = [
        each.outputs[0].shape.num_elements()
        for each in function.graph.get_operations()
        if each.type == "Const" and each.outputs[0].dtype.is_floating and each.outputs[0].shape.rank
    ]
    return sum(variables) or sum(constants)


def _find_size(height: int | None, name: str, image_size: int | None) -> int:
    if height is None and image_size is None:
        raise ExportError(f"{name} takes images of any size: give --image-size, best that of its training")
    if height is not None and image_size not in (None, height):
        raise ExportError(f"{name} takes images of {height}x{height} pixels; leave --image-size out")
    return int(height or image_size or 0)


def _find_scaling(model: Any) -> Iterator[str]:
    """The names of layers that take pixels from 0 to 255, networks inside of the network included."""
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in NETWORKS:
            yield from _find_scaling(layer)
        if kind == "Rescaling" and np.max(np.abs(layer.scale)) <= _LARGEST_SCALE:
            yield str(layer.name)
        if kind == "Normalization" and layer.mean is not None and np.max(np.asarray(layer.mean)) >= _LEAST_MEAN:
            yield str(layer.name)
