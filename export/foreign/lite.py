"""Somebody's .tflite file given the entries that the service knows, `image` and `tensor`, over one set of weights.

The file's subgraph is copied once, its weights are not. Operations ahead of each copy make what the file takes of
pixels, or of what the network takes as float32; operations behind it make probabilities.

    image  uint8 [N, H, W, 3] ── CAST ── CONV_2D ─┐
    tensor float32 [N, H, W, C] ──────────────────┴─ the file's own operations ── probabilities float32 [N, classes]

QUANTIZE and DEQUANTIZE come before and after where the file takes or answers with integers, SOFTMAX where it answers
with logits.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.architectures.architecture import Architecture
from export.convert.signatures import IMAGE, PROBABILITIES, TENSOR
from export.data import pixels
from export.errors import ExportError
from export.quantize import flatbuffer
from export.quantize.schemes import DYNAMIC, FLOAT16, FLOAT32, INT8
from export.quiet import silenced
from service.plurals import format_items

_IDENTIFIER = b"TFL3"
_CHANNELS = (1, 3)
_INTEGERS = (schema.TensorType.UINT8, schema.TensorType.INT8)
_NUMBERS = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, *_INTEGERS)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the file takes: images of `size` (None: any) and `channels`; it answers with `classes` numbers.

    `step` is the distance between two of these where they are integers, else 0. `precision` is one of those that
    exports have; `parameters` counts the numbers in its constants.
    """

    size: int | None
    channels: int
    classes: int
    step: float
    precision: str
    parameters: int


def inspect(data: bytes, name: str) -> Entry:
    """Raises ExportError, one line, where it is no .tflite file or no classifier of images."""
    model = _read(data, name)
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ExportError(
            f"{name} is no network from one image to one output: it has {format_items(len(graph.inputs), 'input')} and "
            f"{format_items(len(graph.outputs), 'output')}"
        )
    image, answer = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    for tensor, what in ((image, "takes"), (answer, "answers with")):
        if tensor.type != schema.TensorType.FLOAT32 and not (tensor.type in _INTEGERS and _is_scaled(tensor)):
            raise ExportError(f"{name} {what} numbers that are neither float32 nor quantized to 8 bits")
    shape, answered = _shape(image), _shape(answer)
    if len(shape) != 4 or shape[3] not in _CHANNELS:
        raise ExportError(f"{name} takes shape {shape}, and images are [N, height, width, 1 or 3 channels]")
    if shape[1] != shape[2]:
        raise ExportError(f"{name} takes images of {shape[1]}x{shape[2]} pixels, and only square ones can be published")
    if len(answered) != 2 or answered[1] < 2:
        raise ExportError(
            f"{name} answers an image with shape {answered[1:]}, and a classifier answers one number a class, two at "
            "least"
        )
    return Entry(
        size=shape[1] if shape[1] > 0 else None,
        channels=shape[3],
        classes=answered[1],
        step=0.0 if answer.type == schema.TensorType.FLOAT32 else float(answer.quantization.scale[0]),
        precision=_find_precision(model, graph),
        parameters=sum(int(np.prod(tensor.shape)) for tensor in _list_constants(model, graph).values()),
    )


def add_entries(data: bytes, row: Architecture, size: int, name: str, *, softmax: bool) -> bytes:
    """A file with the signatures `image` and `tensor`, pixels scaled as `row` says, for images of `size`.

    `softmax` says that the file answers with logits. Its answers to one image are unchanged; sizes that a converter
    wrote for one image become those of any number.
    """
    model = _read(data, name)
    _open_rows(model)
    whole = model.subgraphs[0]
    tail = copy.deepcopy(whole)
    tail.name = TENSOR.encode()
    model.subgraphs.append(tail)
    model.signatureDefs = []
    for number, graph, signature in ((0, whole, IMAGE), (len(model.subgraphs) - 1, tail, TENSOR)):
        _Editor(model, graph).enclose(row, size, signature, softmax)
        made = schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = signature.encode(), number
        made.inputs = [_name(signature, graph.inputs[0])]
        made.outputs = [_name(PROBABILITIES, graph.outputs[0])]
        model.signatureDefs.append(made)
    return flatbuffer.write(model)


class LiteNetwork:
    """The file as it came, called like a Keras model; with `softmax` its answers are logits and become probabilities.

    It is asked image by image, as whatever its converter wrote allows.
    """

    def __init__(self, data: bytes, entry: Entry, softmax: bool = False) -> None:
        self.data, self.entry, self.softmax = data, entry, softmax
        with silenced():
            self._interpreter = Interpreter(model_content=data)

    def __call__(self, tensor: Any, training: bool = False) -> Any:
        """float32 [N, H, W, C] -> float32 [N, classes], eagerly and in a graph."""
        import tensorflow as tf

        answers = tf.ensure_shape(tf.numpy_function(self._run, [tensor], tf.float32), (None, self.entry.classes))
        return tf.nn.softmax(answers) if self.softmax else answers

    def count_params(self) -> int:
        return self.entry.parameters

    def _run(self, tensor: Any) -> Any:
        interpreter = self._interpreter
        (image,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
        with silenced():
            interpreter.resize_tensor_input(image["index"], (1, *tensor.shape[1:]))
            interpreter.allocate_tensors()
        answers = []
        for row in tensor:
            interpreter.set_tensor(image["index"], _quantize(row[np.newaxis], image))
            interpreter.invoke()
            answers.append(_dequantize(interpreter.get_tensor(answer["index"]), answer))
        return np.concatenate(answers)


def _quantize(values: Any, detail: Any) -> Any:
    if detail["dtype"] == np.float32:
        return values.astype(np.float32)
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def _dequantize(values: Any, detail: Any) -> Any:
    if values.dtype == np.float32:
        return values
    scale, zero = detail["quantization"]
    return ((values.astype(np.float32) - zero) * scale).astype(np.float32)


class _Editor:
    """Adds tensors and operations to one subgraph."""

    def __init__(self, model: Any, graph: Any) -> None:
        self._model, self._graph = model, graph

    def enclose(self, row: Architecture, size: int, signature: str, softmax: bool) -> None:
        graph = self._graph
        entry, classes = graph.inputs[0], _shape(graph.tensors[graph.outputs[0]])[1]
        taken = graph.tensors[entry]
        taken.shape, taken.shapeSignature = _rows(size, size, row.channels)
        shape = (size, size, row.channels)
        ahead: list[Any] = []
        integers = taken.type != schema.TensorType.FLOAT32
        # What the network takes as float32: the file's own input, or what is quantized to it.
        scaled = self._add_tensor(TENSOR, shape) if integers else entry
        if integers:
            ahead = [self._make(schema.BuiltinOperator.QUANTIZE, [scaled], entry)]
        graph.inputs = [scaled]
        if signature == IMAGE:
            image = self._add_tensor(IMAGE, (size, size, 3), schema.TensorType.UINT8)
            levels = self._add_tensor("levels", (size, size, 3))
            weights, offsets = measure_scaling(row)
            constants = [
                self._add_constant("scale", weights.T.reshape(row.channels, 1, 1, 3)),
                self._add_constant("offset", offsets),
            ]
            cast = schema.CastOptionsT()
            cast.inDataType, cast.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
            convolution = schema.Conv2DOptionsT()
            convolution.strideW = convolution.strideH = 1
            convolution.padding = schema.Padding.VALID
            ahead = [
                self._make(schema.BuiltinOperator.CAST, [image], levels, cast),
                self._make(schema.BuiltinOperator.CONV_2D, [levels, *constants], scaled, convolution),
                *ahead,
            ]
            graph.inputs = [image]
        graph.operators = [*ahead, *graph.operators]
        answer = graph.outputs[0]
        graph.tensors[answer].shape, graph.tensors[answer].shapeSignature = _rows(classes)
        if graph.tensors[answer].type != schema.TensorType.FLOAT32:
            answer = self._append(schema.BuiltinOperator.DEQUANTIZE, answer, "numbers", classes)
        if softmax:
            options = schema.SoftmaxOptionsT()
            options.beta = 1.0
            answer = self._append(schema.BuiltinOperator.SOFTMAX, answer, PROBABILITIES, classes, options)
        graph.outputs = [answer]

    def _append(self, operation: int, before: int, name: str, classes: int, options: Any = None) -> int:
        after = self._add_tensor(name, (classes,))
        self._graph.operators.append(self._make(operation, [before], after, options))
        return after

    def _add_tensor(self, name: str, shape: tuple[int, ...], dtype: int = schema.TensorType.FLOAT32) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.hasRank = f"export/{name}".encode(), dtype, True
        tensor.shape, tensor.shapeSignature = _rows(*shape)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _add_constant(self, name: str, values: Any) -> int:
        place = self._add_tensor(name, ())
        tensor = self._graph.tensors[place]
        tensor.shape, tensor.shapeSignature = np.array(values.shape, np.int32), None
        tensor.buffer = _add_buffer(self._model, values.astype(np.float32))
        return place

    def _make(self, operation: int, inputs: list[int], output: int, options: Any = None) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex = _find_code(self._model, operation)
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return made


def measure_scaling(row: Architecture) -> tuple[Any, Any]:
    """`pixels.to_tensor` as a matrix float32 [3, C] and an offset float32 [C]: it is linear in a pixel's levels."""
    ends = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32)
    found = np.asarray(pixels.to_tensor(ends.reshape(4, 1, 1, 3), row), np.float64).reshape(4, row.channels)
    return ((found[1:] - found[0]) / 255).astype(np.float32), found[0].astype(np.float32)


def _read(data: bytes, name: str) -> Any:
    if data[4:8] != _IDENTIFIER:
        raise ExportError(f"{name} is not a readable .tflite file: its first bytes are not those of one")
    try:
        return flatbuffer.read(data)
    except Exception as error:  # half a flatbuffer fails in any way
        raise ExportError(f"{name} is not a readable .tflite file: {error}") from error


def _open_rows(model: Any) -> None:
    """Reshapes to one row of a known size become reshapes to any number of such rows."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode != schema.BuiltinOperator.RESHAPE:
            continue
        options = operator.builtinOptions
        if options is not None and (opened := _open_row(options.newShape)) is not None:
            options.newShape = opened
        if len(operator.inputs) < 2 or not _has_data(model, given := graph.tensors[operator.inputs[1]]):
            continue  # the shape is in the options, or computed while it runs
        if (opened := _open_row(np.frombuffer(bytes(model.buffers[given.buffer].data), np.int32))) is not None:
            other = copy.copy(given)
            other.name, other.buffer = given.name + b"/any_rows", _add_buffer(model, opened)
            graph.tensors.append(other)
            operator.inputs = np.array([operator.inputs[0], len(graph.tensors) - 1], np.int32)


def _open_row(sizes: Any) -> Any | None:
    """The same shape with -1 in front; None where it is not one of a single row with all sizes known."""
    if sizes is None or len(sizes) < 2 or sizes[0] != 1 or (np.asarray(sizes) < 0).any():
        return None
    return np.array([-1, *sizes[1:]], np.int32)


def _add_buffer(model: Any, values: Any) -> int:
    made = schema.BufferT()
    made.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(made)
    return len(model.buffers) - 1


def _find_code(model: Any, operation: int) -> int:
    for number, code in enumerate(model.operatorCodes):
        if code.builtinCode == operation:
            return number
    made = schema.OperatorCodeT()
    made.builtinCode = operation
    made.deprecatedBuiltinCode = min(operation, 127)
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1


def _name(alias: str, place: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = alias.encode(), int(place)
    return made


def _rows(*shape: int) -> tuple[Any, Any]:
    """A shape for one row and its signature for any number."""
    return np.array([1, *shape], np.int32), np.array([-1, *shape], np.int32)


def _shape(tensor: Any) -> list[int]:
    """-1 where a size is open."""
    sizes = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return [] if sizes is None else [int(size) for size in sizes]


def _is_scaled(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _find_precision(model: Any, graph: Any) -> str:
    """int8 where it computes with integers, dynamic or float16 where its weights alone are such."""
    constants = {tensor.type for tensor in _list_constants(model, graph).values()}
    computed = {graph.tensors[place].type for operator in graph.operators for place in operator.outputs}
    if computed & set(_INTEGERS):
        return INT8
    if constants & set(_INTEGERS):
        return DYNAMIC
    return FLOAT16 if schema.TensorType.FLOAT16 in constants else FLOAT32


def _list_constants(model: Any, graph: Any) -> dict[int, Any]:
    """Buffer -> tensor, of those that hold numbers of the network."""
    return {
        tensor.buffer: tensor
        for tensor in graph.tensors
        if tensor.type in _NUMBERS and tensor.shape is not None and len(tensor.shape) and _has_data(model, tensor)
    }


def _has_data(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
