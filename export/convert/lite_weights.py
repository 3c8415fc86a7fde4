"""Large weights of a frozen SavedModel, left out of it while LiteRT's converter works on it.

The converter copies every weight several times: as it came, with its axes turned, in the file that it grows. A constant
of one number that repeats costs it nothing until it is written. So each large weight that one convolution or product
reads is such a constant meanwhile, of a number that no other has, by which its place in the file is found.

The converter does no more to these weights than turn their axes, so the file is the same byte for byte.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.repository.manifest import SAVED_MODEL

LARGE = 65_536
"""Bytes of a weight that is left out."""

_STEP = 2.0**-20  # every 1 + n * _STEP is a float32 of its own


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A constant of a GraphDef by name, and the kind of the only operation that reads it."""

    name: str
    operation: str


def leave_out(graph: Any, kept: Collection[str]) -> Mapping[float, LeftOut]:
    """Puts one repeated number in the place of each large weight of a GraphDef, except those `kept`.

    Returns the weights by that number.
    """
    readers = _list_readers(graph)
    left_out: dict[float, LeftOut] = {}
    for node in graph.node:
        operation = _find_operation(node.name, readers)
        if node.op != "Const" or not operation or node.name in kept:
            continue
        tensor = node.attr["value"].tensor
        if len(tensor.tensor_content) >= LARGE and tensor.dtype == 1:  # DT_FLOAT
            number = 1 + (len(left_out) + 1) * _STEP
            left_out[number] = LeftOut(node.name, operation)
            tensor.ClearField("tensor_content")
            tensor.float_val.append(number)
    return left_out


def put_back(file: Path, saved_model: Path, left_out: Mapping[float, LeftOut]) -> frozenset[str]:
    """Writes the weights of a SavedModel into a `.tflite` file that was converted without them.

    Returns the names of those whose place is not there: the converter has computed something with them.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    places = _find_places(file, left_out)
    missing = frozenset(each.name for number, each in left_out.items() if number not in places)
    if missing or not left_out:
        return missing
    by_name = {each.name: (each.operation, places[number]) for number, each in left_out.items()}
    document = saved_model_pb2.SavedModel.FromString((saved_model / SAVED_MODEL).read_bytes())
    written = np.memmap(file, np.uint8, "r+")
    for node in document.meta_graphs[0].graph_def.node:
        if node.name in by_name:
            operation, (start, shape) = by_name[node.name]
            weight = _turn(node.attr["value"].tensor, operation)
            if weight.shape != shape:
                missing |= {node.name}
                continue
            written[start : start + weight.nbytes].view(np.float32).reshape(shape)[...] = weight
    written.flush()
    return missing


def _list_readers(graph: Any) -> Mapping[str, list[tuple[Any, int]]]:
    """Nodes that read each node, with the number of the input."""
    readers: dict[str, list[tuple[Any, int]]] = {}
    for node in graph.node:
        for number, name in enumerate(node.input):
            readers.setdefault(name.partition(":")[0], []).append((node, number))
    return readers


def _find_operation(name: str, readers: Mapping[str, list[tuple[Any, int]]]) -> str:
    """The kind of the one operation whose weights a constant is; "" where it is anything else."""
    reading = readers.get(name, [])
    while len(reading) == 1 and reading[0][0].op == "Identity":
        reading = readers.get(reading[0][0].name, [])
    if len(reading) != 1 or reading[0][1] != 1:
        return ""
    node = reading[0][0]
    if node.op == "MatMul" and not node.attr["transpose_b"].b:
        return "MatMul"
    return node.op if node.op in ("Conv2D", "DepthwiseConv2dNative") else ""


def _turn(tensor: Any, operation: str) -> Any:
    """A weight of a GraphDef, float32, with its axes as LiteRT has them: the output's channels come first."""
    weight = np.frombuffer(tensor.tensor_content, np.float32).reshape([each.size for each in tensor.tensor_shape.dim])
    match operation:
        case "Conv2D":
            return weight.transpose(3, 0, 1, 2)
        case "DepthwiseConv2dNative":
            return weight.reshape(1, *weight.shape[:2], -1)
        case _:
            return weight.T


def _find_places(file: Path, numbers: Collection[float]) -> Mapping[float, tuple[int, tuple[int, ...]]]:
    """Where in a `.tflite` file these numbers repeat through a whole constant, and its shape; each is there once."""
    from ai_edge_litert import schema_py_generated as schema

    content = np.memmap(file, np.uint8, "r")
    model = schema.Model.GetRootAs(content, 0)
    shapes: dict[int, set[tuple[int, ...]]] = {}
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            shape = tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))
            shapes.setdefault(tensor.Buffer(), set()).add(shape)
    found: dict[float, list[tuple[int, tuple[int, ...]]]] = {}
    for number in range(model.BuffersLength()):
        data = model.Buffers(number).DataAsNumpy()
        if isinstance(data, int) or len(data) < LARGE or len(data) % 4:  # 0 where it is empty
            continue
        values = data.view(np.float32)
        first = float(values[0])
        if first in numbers and len(shapes.get(number, ())) == 1 and (values == values[0]).all():
            (shape,) = shapes[number]
            start = data.ctypes.data - content.ctypes.data
            found.setdefault(first, []).append((start, shape))
    return {number: places[0] for number, places in found.items() if len(places) == 1}
