"""Anybody's SavedModel with a signature for every question: Identity and constants, written without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from service.protobuf import tensors as codec
from service.protobuf.stubs import saved_model_pb2
from service.types import Array

NAME, VERSION = "zoo", 7
DTYPES = (
    *("float32", "float64", "float16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", "string"),
)

Shape = tuple[int, ...] | None
Tensor = tuple[str, str, str, Shape]
"""Feed, fetch, dtype, shape: TensorFlow does not hand out the very tensor that it was fed."""


def write(repository: Path) -> None:
    """`zoo/7`. Where no shape is said, the signature declares none.

    serving_default   a float32 [N, 2], s string [N] -> a, s, and s_bytes, which is s again
    echo_DTYPE        x -> y, which is x
    three_rows        x float32 -> x, and y, always 3 values
    a_scalar          x float32 -> y, always 2.5
    no_inputs         -> y, always 2.5
    a_default         x and b float32, b 7 where it is left out -> x and b
    classify          inputs string -> classes and scores, always [[a, b]] and [[0.25, 0.75]]
    regress_badly     inputs string -> outputs, which are strings too
    """
    model = _Model()
    a, s = model.input("a", "float32", (-1, 2)), model.input("s", "string", (-1,))
    model.signature("serving_default", {"a": a, "s": s}, {"a": a, "s": s, "s_bytes": s})
    for dtype in DTYPES:
        x = model.input(f"x_{dtype}", dtype)
        model.signature(f"echo_{dtype}", {"x": x}, {"y": x})
    x, b = model.input("x", "float32"), model.input("b", "float32")
    three, scalar = model.constant("three", [1, 2, 3]), model.constant("scalar", 2.5)
    model.signature("three_rows", {"x": x}, {"x": x, "y": three})
    model.signature("a_scalar", {"x": x}, {"y": scalar})
    model.signature("no_inputs", {}, {"y": scalar})
    model.signature("a_default", {"x": x, "b": b}, {"x": x, "b": b}, {"b": np.asarray(7, np.float32)})
    classes, scores = model.constant("classes", [[b"a", b"b"]], "string"), model.constant("scores", [[0.25, 0.75]])
    model.signature("classify", {"inputs": s}, {"classes": classes, "scores": scores})
    model.signature("regress_badly", {"inputs": s}, {"outputs": s})
    model.write(repository / NAME / str(VERSION))


ROWS = "rows"


def write_rows(repository: Path) -> None:
    """`rows/1`: answers that a batch may be split into row by row, and answers that it may not, as far as is declared.

    serving_default  x float32 [N, 2] -> y, which is x
    constant         x -> y, and names, always [cat, dog]
    one_row          x -> y, always [[1, 2]]
    a_scalar         x -> y, always 2.5
    undeclared       x -> y, always [[1, 2]], declared [N, 2]
    across           x -> y, the sum of its row and all rows before, declared [N, 2]
    first_three      x -> y, its first three rows, declared [N, 2]
    """
    model = _Model()
    x = model.input("x", "float32", (-1, 2))
    names, row, scalar = (
        model.constant("names", [b"cat", b"dog"], "string"),
        model.constant("row", [[1, 2]]),
        model.constant("scalar", 2.5),
    )
    model.signature("serving_default", {"x": x}, {"y": x})
    model.signature("constant", {"x": x}, {"y": x, "names": names})
    model.signature("one_row", {"x": x}, {"y": row})
    model.signature("a_scalar", {"x": x}, {"y": scalar})
    model.signature("undeclared", {"x": x}, {"y": (*row[:3], (-1, 2))})
    axis, begin, end, step = (
        model.constant(name, value, "int32")
        for name, value in {"axis": 0, "begin": [0], "end": [3], "step": [1]}.items()
    )
    across = model.operation("Cumsum", x, axis, T="float32", Tidx="int32")
    first_three = model.operation("StridedSlice", x, begin, end, step, T="float32", Index="int32")
    model.signature("across", {"x": x}, {"y": across})
    model.signature("first_three", {"x": x}, {"y": first_three})
    model.write(repository / ROWS / "1")


def write_across(repository: Path) -> None:
    """`across/1`: x float32 [N, 2] -> y, the sum of its row and all rows before, declared [N, 2]."""
    model = _Model()
    x, axis = model.input("x", "float32", (-1, 2)), model.constant("axis", 0, "int32")
    across = model.operation("Cumsum", x, axis, T="float32", Tidx="int32")
    model.signature("serving_default", {"x": x}, {"y": across})
    model.write(repository / "across" / "1")


class _Model:
    def __init__(self) -> None:
        self.proto = saved_model_pb2.SavedModel(saved_model_schema_version=1)
        self._meta = self.proto.meta_graphs.add()
        self._meta.meta_info_def.tags.append("serve")
        self._meta.graph_def.versions.producer = 1882

    def input(self, name: str, dtype: str, shape: Shape = None) -> Tensor:
        fed = self._meta.graph_def.node.add(name=name, op="Placeholder")
        fed.attr["dtype"].type = codec.dtype_number(dtype)
        fed.attr["shape"].shape.unknown_rank = True
        fetched = self._meta.graph_def.node.add(name=f"{name}_out", op="Identity", input=[name])
        fetched.attr["T"].type = codec.dtype_number(dtype)
        return f"{name}:0", f"{name}_out:0", dtype, shape

    def constant(self, name: str, value: Any, dtype: str = "float32") -> Tensor:
        array = np.asarray(value, object if dtype == "string" else dtype)
        node = self._meta.graph_def.node.add(name=name, op="Const")
        node.attr["dtype"].type = codec.dtype_number(dtype)
        node.attr["value"].tensor.CopyFrom(codec.to_proto(array))
        return "", f"{name}:0", dtype, array.shape

    def operation(self, op: str, first: Tensor, *others: Tensor, **types: str) -> Tensor:
        node = self._meta.graph_def.node.add(name=op, op=op, input=[tensor[1] for tensor in (first, *others)])
        for attribute, dtype in types.items():
            node.attr[attribute].type = codec.dtype_number(dtype)
        return "", f"{op}:0", *first[2:]

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(self.proto.SerializeToString())

    def signature(
        self,
        name: str,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        defaults: Mapping[str, Array] | None = None,
    ) -> None:
        definition = self._meta.signature_def[name]
        definition.method_name = "tensorflow/serving/predict"
        for alias, (fed, _, dtype, shape) in inputs.items():
            _fill(definition.inputs[alias], fed, dtype, shape)
        for alias, (_, fetched, dtype, shape) in outputs.items():
            _fill(definition.outputs[alias], fetched, dtype, shape)
        for alias, value in (defaults or {}).items():
            definition.defaults[alias].CopyFrom(codec.to_proto(value))


def _fill(info: Any, tensor: str, dtype: str, shape: Shape) -> None:
    info.name, info.dtype = tensor, codec.dtype_number(dtype)
    info.tensor_shape.unknown_rank = shape is None
    for size in shape or ():
        info.tensor_shape.dim.add(size=size)
