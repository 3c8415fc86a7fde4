"""Anybody's SavedModel with a signature for every question: Identity and constants, written without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from service.messages import Array
from service.wire import codec
from service.wire.stubs import saved_model_pb2

NAME, VERSION = "zoo", 7
DTYPES = (
    *("float32", "float64", "float16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", "string"),
)

Shape = tuple[int, ...] | None


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
    folder = repository / NAME / str(VERSION)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(model.proto.SerializeToString())


class _Model:
    """Tensors are (feed, fetch, dtype, shape): TensorFlow does not hand out the very tensor that it was fed."""

    def __init__(self) -> None:
        self.proto = saved_model_pb2.SavedModel(saved_model_schema_version=1)
        self._meta = self.proto.meta_graphs.add()
        self._meta.meta_info_def.tags.append("serve")
        self._meta.graph_def.versions.producer = 1882

    def input(self, name: str, dtype: str, shape: Shape = None) -> tuple[str, str, str, Shape]:
        fed = self._meta.graph_def.node.add(name=name, op="Placeholder")
        fed.attr["dtype"].type = codec.dtype_number(dtype)
        fed.attr["shape"].shape.unknown_rank = True
        fetched = self._meta.graph_def.node.add(name=f"{name}_out", op="Identity", input=[name])
        fetched.attr["T"].type = codec.dtype_number(dtype)
        return f"{name}:0", f"{name}_out:0", dtype, shape

    def constant(self, name: str, value: Any, dtype: str = "float32") -> tuple[str, str, str, Shape]:
        array = np.asarray(value, object if dtype == "string" else dtype)
        node = self._meta.graph_def.node.add(name=name, op="Const")
        node.attr["dtype"].type = codec.dtype_number(dtype)
        node.attr["value"].tensor.CopyFrom(codec.to_proto(array))
        return "", f"{name}:0", dtype, array.shape

    def signature(
        self,
        name: str,
        inputs: Mapping[str, tuple[str, str, str, Shape]],
        outputs: Mapping[str, tuple[str, str, str, Shape]],
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
