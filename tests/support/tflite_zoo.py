"""Anybody's `.tflite`: a signature for each way in which rows and shapes may go wrong, written without TensorFlow."""

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from service.types import Array

_TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
_WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)  # outputs by inputs, as TFLite has them

WEIGHTS = _WEIGHTS.T
"""What `dense` multiplies by."""


def write(path: Path, *, signatures: bool = True) -> None:
    """Without `signatures` only the first one's graph, whose tensors go by name.

    dense     x float32 [N, 4] -> y = x @ WEIGHTS
    open      x float32 [N, M] -> y = x @ WEIGHTS, which takes M = 4 only
    across    x float32 [N, 4] -> y, the sum of its row and all rows before
    pick      x int32 [N] -> y, that column of WEIGHTS, of 3; fails while it runs where there is none
    lonely    x float32 [N, 4] -> y, which is x, and takes one row only
    one_row   x float32 [1, 4] -> y = x @ WEIGHTS
    """
    model = _Model()
    model.graph("dense", ("float32", (-1, 4)), (-1, 3), schema.BuiltinOperator.FULLY_CONNECTED, _WEIGHTS)
    if signatures:
        model.graph("open", ("float32", (-1, -1)), (-1, 3), schema.BuiltinOperator.FULLY_CONNECTED, _WEIGHTS)
        shape = np.asarray([1, 4], np.int32)
        model.graph("lonely", ("float32", (-1, 4)), (-1, 4), schema.BuiltinOperator.RESHAPE, shape)
        axis = np.asarray(0, np.int32)
        model.graph("across", ("float32", (-1, 4)), (-1, 4), schema.BuiltinOperator.CUMSUM, axis)
        model.graph("pick", ("int32", (-1,)), (-1, 4), schema.BuiltinOperator.GATHER, _WEIGHTS)
        model.graph("one_row", ("float32", (1, 4)), (1, 3), schema.BuiltinOperator.FULLY_CONNECTED, _WEIGHTS)
    else:
        model.proto.signatureDefs = []
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.proto.Pack(builder), file_identifier=b"TFL3")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(builder.Output()))


class _Model:
    def __init__(self) -> None:
        self.proto = schema.ModelT()
        self.proto.version = 3
        self.proto.buffers = [schema.BufferT()]  # an empty one for what is computed
        self.proto.subgraphs, self.proto.operatorCodes, self.proto.signatureDefs = [], [], []

    def graph(
        self, name: str, x: tuple[str, tuple[int, ...]], y_shape: tuple[int, ...], operation: int, constant: Array
    ) -> None:
        """A subgraph and its signature: y = operation(x, constant)."""
        dtype, shape = x
        graph = schema.SubGraphT()
        graph.name = name.encode()
        graph.tensors = [
            self._tensor("x", dtype, shape),
            self._tensor("constant", constant.dtype.name, constant.shape, constant.tobytes()),
            self._tensor("y", "float32", y_shape),
        ]
        graph.inputs, graph.outputs, graph.operators = [0], [2], [self._operator(operation)]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = name.encode(), len(self.proto.subgraphs)
        signature.inputs, signature.outputs = [_named("x", 0)], [_named("y", 2)]
        self.proto.subgraphs.append(graph)
        self.proto.signatureDefs.append(signature)

    def _tensor(self, name: str, dtype: str, shape: tuple[int, ...], data: bytes = b"") -> Any:
        tensor = schema.TensorT()
        tensor.name, tensor.type = name.encode(), _TYPES[dtype]
        tensor.shape, tensor.shapeSignature = [abs(size) for size in shape], list(shape)
        tensor.hasRank = True
        tensor.buffer = 0
        if data:
            buffer = schema.BufferT()
            buffer.data = list(data)
            tensor.buffer = len(self.proto.buffers)
            self.proto.buffers.append(buffer)
        return tensor

    def _operator(self, operation: int) -> Any:
        code = schema.OperatorCodeT()
        code.builtinCode = operation
        code.deprecatedBuiltinCode, code.version = min(operation, 127), 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.proto.operatorCodes)
        self.proto.operatorCodes.append(code)
        options = {
            schema.BuiltinOperator.FULLY_CONNECTED: ("FullyConnectedOptions", schema.FullyConnectedOptionsT),
            schema.BuiltinOperator.RESHAPE: ("ReshapeOptions", schema.ReshapeOptionsT),
            schema.BuiltinOperator.CUMSUM: ("CumsumOptions", schema.CumsumOptionsT),
            schema.BuiltinOperator.GATHER: ("GatherOptions", schema.GatherOptionsT),
        }[operation]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options[0])
        operator.builtinOptions = options[1]()
        # What picks comes after what is picked from.
        operator.inputs = [1, 0] if operation == schema.BuiltinOperator.GATHER else [0, 1]
        if operation == schema.BuiltinOperator.FULLY_CONNECTED:
            operator.inputs.append(-1)  # no bias
        operator.outputs = [2]
        return operator


def _named(name: str, index: int) -> Any:
    tensor = schema.TensorMapT()
    tensor.name, tensor.tensorIndex = name.encode(), index
    return tensor
