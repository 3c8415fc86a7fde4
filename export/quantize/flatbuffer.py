"""TFLite files as the quantizer needs them: one name a tensor, and written without repeating themselves.

Our files hold two subgraphs over one set of weights, `image` and `tensor`, where the second is the first
without its first operations (the preprocessing). The quantizer tells tensors apart by name across both.
"""

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_IDENTIFIER = b"TFL3"
_LAYERS = (
    schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.FULLY_CONNECTED,
)


class _Sharing(flatbuffers.Builder):  # type: ignore[misc]  # it comes without types
    """Equal vectors are written once: two subgraphs state every scale and zero point twice, per channel.

    For networks of many narrow layers that is a sixth of the file (measured on NASNetMobile: 0.38 of
    float32 without, 0.29 with).
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Any) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def read(data: bytes) -> Any:
    """The file as flatbuffer objects (`ModelT` of TFLite's schema)."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(data))


def write(model: Any) -> bytes:
    builder = _Sharing(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def with_unique_names(data: bytes) -> bytes:
    """Every tensor's name with its subgraph's number and a slash in front."""
    model = read(data)
    for number, subgraph in enumerate(model.subgraphs):
        for tensor in subgraph.tensors:
            tensor.name = b"%d/%s" % (number, tensor.name)
    return write(model)


def with_own_names(data: bytes) -> bytes:
    """Undoes `with_unique_names`, also on what the quantizer made of the file."""
    model = read(data)
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            tensor.name = tensor.name.partition(b"/")[2]
    return write(model)


def name(subgraph: Any, index: int) -> str:
    return str(subgraph.tensors[index].name.decode())


def layers(model: Any) -> tuple[str, ...]:
    """Names of the outputs of the first subgraph's convolutions and fully connected layers, in order."""
    codes = {number for number, code in enumerate(model.operatorCodes) if code.builtinCode in _LAYERS}
    whole = model.subgraphs[0]
    return tuple(name(whole, each.outputs[0]) for each in whole.operators if each.opcodeIndex in codes)


def operations(model: Any) -> tuple[str, ...]:
    """Names of the first output of every operation both subgraphs have, as the first names them, in order."""
    whole, tail = model.subgraphs
    return tuple(name(whole, each.outputs[0]) for each in whole.operators[_extra(whole, tail) :])


def preprocessing(model: Any) -> tuple[str, ...]:
    """Names of the outputs of those operations of the first subgraph that the second does without."""
    whole, tail = model.subgraphs
    return tuple(name(whole, operator.outputs[0]) for operator in whole.operators[: _extra(whole, tail)])


def twins(model: Any) -> dict[str, str]:
    """Name of every tensor the second subgraph computes with -> name of its twin in the first."""
    whole, tail = model.subgraphs
    pairs = {}
    for one, other in zip(whole.operators[_extra(whole, tail) :], tail.operators, strict=True):
        for left, right in zip([*one.inputs, *one.outputs], [*other.inputs, *other.outputs], strict=True):
            if left >= 0:  # -1 stands for an optional tensor that is not there
                pairs[name(tail, right)] = name(whole, left)
    return pairs


def _extra(whole: Any, tail: Any) -> int:
    """How many operations the first subgraph has before the second's first. Raises ValueError where it differs."""
    extra = len(whole.operators) - len(tail.operators)
    if extra < 0 or any(
        one.opcodeIndex != other.opcodeIndex for one, other in zip(whole.operators[extra:], tail.operators, strict=True)
    ):
        raise ValueError("the signatures of model.tflite are not two entries into one graph")
    return extra
