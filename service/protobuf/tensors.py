"""TensorProto <-> ndarray, as TensorFlow Serving reads and writes them."""

import math
from typing import Any

import numpy as np

from service.errors import InvalidInput
from service.protobuf.stubs import tensor_pb2, types_pb2
from service.types import Array, dtype_of, strings

TensorProto = Any
"""tensorflow.core.framework.tensor_pb2.TensorProto: generated code carries no types."""

# Wire type -> (NumPy name, the field that holds its values). Replies use that field, never
# `tensor_content`: clients of TensorFlow Serving read `outputs["y"].float_val` directly.
_FIELDS: dict[int, tuple[str, str]] = {
    types_pb2.DT_FLOAT: ("float32", "float_val"),
    types_pb2.DT_DOUBLE: ("float64", "double_val"),
    types_pb2.DT_INT8: ("int8", "int_val"),
    types_pb2.DT_INT16: ("int16", "int_val"),
    types_pb2.DT_INT32: ("int32", "int_val"),
    types_pb2.DT_UINT8: ("uint8", "int_val"),
    types_pb2.DT_UINT16: ("uint16", "int_val"),
    types_pb2.DT_UINT32: ("uint32", "uint32_val"),
    types_pb2.DT_INT64: ("int64", "int64_val"),
    types_pb2.DT_UINT64: ("uint64", "uint64_val"),
    types_pb2.DT_BOOL: ("bool", "bool_val"),
    types_pb2.DT_HALF: ("float16", "half_val"),
    types_pb2.DT_STRING: ("string", "string_val"),
}
_MOST_REPEATED = 2**20  # elements: twenty bytes on the wire must not become gigabytes here
_MOST_DIMENSIONS = 64  # NumPy's own bound
_NARROW = {"int8", "int16", "uint8", "uint16"}  # travel as int32
_TYPES = {name: number for number, (name, _) in _FIELDS.items()}


def dtype_name(number: int) -> str:
    """The NumPy name of a DataType number; the enum's name where NumPy has none."""
    if number in _FIELDS:
        return _FIELDS[number][0]
    try:
        return str(types_pb2.DataType.Name(number))
    except ValueError:
        return f"DataType({number})"


def dtype_number(name: str) -> int:
    """The DataType number of a NumPy name; DT_INVALID where TensorFlow has none."""
    return _TYPES.get(name, int(types_pb2.DT_INVALID))


def to_array(name: str, proto: TensorProto) -> Array:
    """The array of a TensorProto. Fewer values than elements repeat the last one, as in TensorFlow.

    Raises InvalidInput, naming the tensor, where `proto` does not parse.
    """
    if proto.dtype not in _FIELDS:
        raise InvalidInput(f"input {name!r}: dtype {dtype_name(proto.dtype)} is not supported", input=name)
    if len(proto.tensor_shape.dim) > _MOST_DIMENSIONS:  # a product of that many sizes takes hours to compute
        count = len(proto.tensor_shape.dim)
        raise InvalidInput(f"input {name!r}: expected at most {_MOST_DIMENSIONS} dimensions, got {count}", input=name)
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise InvalidInput(f"input {name!r}: the tensor's shape must be fully known, got {list(shape)}", input=name)
    try:
        return _unpack(name, proto, shape)
    except (ValueError, OverflowError) as error:  # what NumPy itself refuses: 65 dimensions, 2^62 elements
        raise InvalidInput(
            f"input {name!r}: shape {list(shape)} does not fit its values ({error})", input=name
        ) from error


def _unpack(name: str, proto: TensorProto, shape: tuple[int, ...]) -> Array:
    numpy_name, field = _FIELDS[proto.dtype]
    count = math.prod(shape)
    if proto.tensor_content:
        if numpy_name == "string":
            raise InvalidInput(f"input {name!r}: strings travel in string_val, not tensor_content", input=name)
        dtype = np.dtype(numpy_name)
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise InvalidInput(
                f"input {name!r}: shape {list(shape)} of {numpy_name} needs {count * dtype.itemsize} bytes, "
                f"tensor_content has {len(proto.tensor_content)}",
                input=name,
            )
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = getattr(proto, field)
    if len(values) > count or (not values and count) or (len(values) < count and count > _MOST_REPEATED):
        raise InvalidInput(f"input {name!r}: shape {list(shape)} holds {count} values, got {len(values)}", input=name)
    array = _from_values(numpy_name, values)
    if len(array) == count:
        return array.reshape(shape)
    if len(array) == 1:
        # One value for all elements takes no memory until it is computed with.
        return np.broadcast_to(array.reshape((1,) * len(shape)), shape)
    return np.concatenate([array, np.broadcast_to(array[-1:], count - len(array))]).reshape(shape)


def _from_values(numpy_name: str, values: Any) -> Array:
    if numpy_name == "string":
        return strings(list(values))
    if numpy_name == "float16":
        return np.array(values, np.uint16).view(np.float16)
    if numpy_name in _NARROW:
        return np.array(values, np.int32).astype(numpy_name)  # one that does not fit wraps, as in TensorFlow
    return np.array(values, numpy_name)


def to_proto(array: Array) -> TensorProto:
    """The array in its typed `*_val` field. Raises TypeError for dtypes TensorFlow has no wire type for."""
    name = dtype_of(array.dtype)
    if name not in _TYPES:
        raise TypeError(f"dtype {name} cannot travel as a TensorProto")
    number = _TYPES[name]
    proto = tensor_pb2.TensorProto(dtype=number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = array.ravel()
    if name == "float16":
        flat = flat.view(np.uint16)
    values = [encode_text(value) for value in flat] if name == "string" else flat.tolist()
    getattr(proto, _FIELDS[number][1]).extend(values)
    return proto


def fill_request(proto: TensorProto, array: Array) -> None:
    """Writes the array into a request's tensor, packed in `tensor_content`: one copy for any size."""
    if array.dtype == object:
        proto.CopyFrom(to_proto(array))
        return
    proto.dtype, proto.tensor_content = _TYPES[dtype_of(array.dtype)], array.tobytes()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)


def encode_text(value: Any) -> bytes:
    """Of a string tensor's element: UTF-8 where it is text."""
    return value.encode() if isinstance(value, str) else bytes(value)
