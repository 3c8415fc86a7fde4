"""TFLite files as the quantizer needs them: one name a tensor, and written without repeating themselves.

Our files hold two subgraphs over one set of weights, `image` and `tensor`, where the second is the first
without its first operations (the preprocessing). The quantizer tells tensors apart by name across both.
"""

import hashlib
from typing import Any

import flatbuffers
import numpy as np
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
        key = (x.dtype.str, hashlib.blake2b(np.ascontiguousarray(x).data).digest())  # weights are not kept as keys
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def read(data: bytes) -> Any:
    """The file as flatbuffer objects (`ModelT` of TFLite's schema), every buffer of weights an array, uint8.

    The library leaves those that lie behind the flatbuffer as bytes, which are written one by one: 13 CPU seconds for
    ResNet50 in int8, instead of a fraction of one.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    for buffer in model.buffers:
        if isinstance(buffer.data, (bytes, bytearray)):
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    return model


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
    """Undoes `with_unique_names` on what the quantizer made of the file, which answers what its signatures name."""
    model = read(data)
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            tensor.name = tensor.name.partition(b"/")[2]
    _return_named_outputs(model)
    return write(model)


def layers(model: Any) -> tuple[str, ...]:
    """Names of the outputs of the first subgraph's convolutions and fully connected layers, in order."""
    codes = {number for number, code in enumerate(model.operatorCodes) if code.builtinCode in _LAYERS}
    whole = model.subgraphs[0]
    return tuple(name(whole, each.outputs[0]) for each in whole.operators if each.opcodeIndex in codes)


def operations(model: Any) -> tuple[str, ...]:
    """Names of the first output of every operation both subgraphs have, as the first names them, in order."""
    shared = _shared(model)
    return tuple(output for output in _first_outputs(model.subgraphs[0]) if output in shared)


def preprocessing(model: Any) -> tuple[str, ...]:
    """The same of those operations that only the first subgraph has."""
    shared = _shared(model)
    return tuple(output for output in _first_outputs(model.subgraphs[0]) if output not in shared)


def entry(model: Any) -> str:
    """Name of what is fed to the second subgraph."""
    tail = model.subgraphs[1]
    (index,) = tail.inputs
    return name(tail, index)


def twins(model: Any) -> dict[str, str]:
    """Name of every tensor the second subgraph computes with -> name of its twin in the first.

    Found by walking back from the outputs: the converter may put the operations of each in another order.
    Raises ValueError where the second is not the end of the first.
    """
    whole, tail = model.subgraphs
    by_output_whole, by_output_tail = _producers(whole), _producers(tail)
    pairs: dict[int, int] = {}
    ahead = list(zip(tail.outputs, whole.outputs, strict=True))
    while ahead:
        here, there = ahead.pop()
        if here in pairs:
            continue
        pairs[here] = there
        one, other = by_output_tail.get(here), by_output_whole.get(there)
        if one is None:  # an input or a constant
            continue
        if other is None or one.opcodeIndex != other.opcodeIndex or len(one.inputs) != len(other.inputs):
            raise ValueError("the signatures of model.tflite are not two entries into one graph")
        ahead += [pair for pair in zip(one.inputs, other.inputs, strict=True) if pair[0] >= 0]  # -1: left out
        ahead += zip(one.outputs, other.outputs, strict=True)
    return {name(tail, here): name(whole, there) for here, there in pairs.items()}


def _return_named_outputs(model: Any) -> None:
    """Where int8 operations read a float output, ai-edge-quantizer 0.10 returns the int8 copy that it makes for them.
    The signature still names the float tensor, and TFLite fails on an output that its graph does not return.
    """
    for signature in model.signatureDefs:
        subgraph = model.subgraphs[signature.subgraphIndex]
        named, producers = {output.tensorIndex for output in signature.outputs}, _producers(subgraph)
        for place, index in enumerate(subgraph.outputs):
            if index not in named:
                (original,) = producers[index].inputs
                subgraph.outputs[place] = original


def name(subgraph: Any, index: int) -> str:
    return str(subgraph.tensors[index].name.decode())


def _first_outputs(subgraph: Any) -> list[str]:
    return [name(subgraph, operator.outputs[0]) for operator in subgraph.operators]


def _shared(model: Any) -> set[str]:
    twin = twins(model)
    return {twin[output] for output in _first_outputs(model.subgraphs[1]) if output in twin}


def _producers(subgraph: Any) -> dict[int, Any]:
    return {output: operator for operator in subgraph.operators for output in operator.outputs}
