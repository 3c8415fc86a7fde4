"""Open Inference Protocol v2: tensors <-> ndarray.

Raw tensors are little-endian and row-major; each element of a BYTES tensor stands behind its length (uint32).
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from service.errors import BackendFailed, InvalidInput
from service.protobuf.tensors import encode_text
from service.repository.manifest import STRING
from service.types import Array, strings

# Datatype -> (NumPy name, the gRPC field of values that are not sent raw).
_TYPES: dict[str, tuple[str, str]] = {
    "BOOL": ("bool", "bool_contents"),
    "UINT8": ("uint8", "uint_contents"),
    "UINT16": ("uint16", "uint_contents"),
    "UINT32": ("uint32", "uint_contents"),
    "UINT64": ("uint64", "uint64_contents"),
    "INT8": ("int8", "int_contents"),
    "INT16": ("int16", "int_contents"),
    "INT32": ("int32", "int_contents"),
    "INT64": ("int64", "int64_contents"),
    "FP16": ("float16", ""),
    "FP32": ("float32", "fp32_contents"),
    "FP64": ("float64", "fp64_contents"),
    "BYTES": (STRING, "bytes_contents"),
}
_NAMES = {name: datatype for datatype, (name, _) in _TYPES.items()} | {"DT_BFLOAT16": "BF16", "bfloat16": "BF16"}
_WIDE = {"int8": "int32", "int16": "int32", "uint8": "uint32", "uint16": "uint32"}  # how they travel in contents
_LENGTH = struct.Struct("<I")
_MOST_DIMENSIONS, _MOST_VALUES = 64, 2**62  # NumPy's own bounds


def name_datatype(dtype: str) -> str:
    """The protocol's word for a NumPy name; the name itself where the protocol has none."""
    return _NAMES.get(dtype, dtype.removeprefix("DT_").upper())


def find_dtype(name: str, datatype: str) -> str:
    """The NumPy name of a datatype. Raises InvalidInput, naming the tensor, for those that are not read here."""
    if datatype not in _TYPES:
        instead = "; send FP32" if datatype == "BF16" else ""
        raise InvalidInput(
            f"input {name!r}: datatype {datatype!r:.40} is not read here{instead}; those that are: {', '.join(_TYPES)}",
            input=name,
        )
    return _TYPES[datatype][0]


def find_item_bytes(name: str, datatype: str) -> int:
    """Of a number, raw. Raises InvalidInput as `find_dtype` does."""
    return np.dtype(find_dtype(name, datatype)).itemsize


def shape_values(name: str, array: Array, shape: Sequence[int]) -> Array:
    """Raises InvalidInput, naming the tensor, where the values are too many or too few for the shape."""
    if array.size != (count := _count(name, shape)):
        raise InvalidInput(f"input {name!r}: shape {list(shape)} has {count:,} values, got {array.size:,}", input=name)
    try:
        return array.reshape(tuple(shape))
    except (ValueError, OverflowError) as error:  # no values, and sizes that no memory has
        raise InvalidInput(f"input {name!r}: shape {list(shape)} is not possible ({error})", input=name) from error


def parse_raw(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> Array:
    """No copy where the bytes lie as NumPy needs them. Raises InvalidInput, naming the tensor."""
    numpy_name = find_dtype(name, datatype)
    if numpy_name == STRING:
        return shape_values(name, strings(_split(name, bytes(data))), shape)
    if len(data) != (size := _count(name, shape) * find_item_bytes(name, datatype)):
        raise InvalidInput(
            f"input {name!r}: {datatype} of shape {list(shape)} is {size:,} bytes, got {len(data):,}", input=name
        )
    if numpy_name == "bool":  # any other byte than 0 is true
        return shape_values(name, np.frombuffer(data, np.uint8) != 0, shape)
    array = np.frombuffer(data, numpy_name)
    return shape_values(name, array if array.flags.aligned else array.copy(), shape)


def parse_contents(name: str, datatype: str, shape: Sequence[int], contents: Any) -> Array:
    """`contents` is an InferTensorContents. Raises InvalidInput, naming the tensor."""
    numpy_name, field = find_dtype(name, datatype), _TYPES[datatype][1]
    if not field:
        raise InvalidInput(f"input {name!r}: {datatype} has no typed contents; send raw_input_contents", input=name)
    values = getattr(contents, field)
    if numpy_name == STRING:
        return shape_values(name, strings(list(values)), shape)
    array = np.array(values, _WIDE.get(numpy_name, numpy_name))
    if numpy_name in _WIDE and array.size:
        low, high = np.iinfo(numpy_name).min, np.iinfo(numpy_name).max
        if array.min() < low or array.max() > high:
            raise InvalidInput(f"input {name!r} takes {numpy_name}, {low} to {high}", input=name)
    return shape_values(name, array.astype(numpy_name, copy=False), shape)


def encode_raw(array: Array) -> bytes:
    """Raises BackendFailed for dtypes the protocol cannot carry."""
    if array.dtype.kind in "OSU":
        if array.ndim > 1 and array.strides[0] == 0:  # every row the same, such as a model's labels
            return encode_raw(array[0]) * len(array) if len(array) else b""
        values = [encode_text(value) for value in array.ravel()]
        return b"".join(part for value in values for part in (_LENGTH.pack(len(value)), value))
    if array.dtype.name not in _NAMES or name_datatype(array.dtype.name) not in _TYPES:
        raise BackendFailed(f"the model answered in {array.dtype.name}, which this protocol cannot carry")
    return np.ascontiguousarray(array).tobytes()


def _count(name: str, shape: Sequence[int]) -> int:
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidInput(f"input {name!r} has {len(shape)} dimensions; {_MOST_DIMENSIONS} are possible", input=name)
    if not all(0 <= size < _MOST_VALUES for size in shape):
        raise InvalidInput(f"input {name!r}: sizes are whole numbers from 0, got {list(shape)}"[:300], input=name)
    return math.prod(shape)


def _split(name: str, data: bytes) -> list[bytes]:
    values: list[bytes] = []
    position, end, length_at = 0, len(data), _LENGTH.unpack_from
    while position + _LENGTH.size <= end:
        start = position + _LENGTH.size
        position = start + length_at(data, position)[0]
        values.append(data[start:position])
    if position != end:
        raise InvalidInput(
            f"input {name!r}: each BYTES element stands behind its length, 4 bytes little-endian; "
            f"the last one breaks off after {end:,} bytes",
            input=name,
        )
    return values
