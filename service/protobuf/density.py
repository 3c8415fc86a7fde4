"""Bounds the memory of a message before it is parsed: a field of two bytes becomes up to 200 bytes."""

from functools import cache
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

from service.errors import InvalidInput

_FREE = 2**17
"""Fields that a message of any size may have: 256 KiB hold no more."""
_SPARSE = 32  # bytes a field past those
_VARINT, _FIXED64, _LENGTH_DELIMITED, _START_GROUP, _END_GROUP, _FIXED32 = range(6)  # how a field is written

_MOST_PACKED = 2**23  # integers: a parser takes 30 ns and up to 24 bytes for one of a byte
_STRETCH = 2**20
_NOT_COUNTED = object()
_WHOLE = {
    getattr(FieldDescriptor, f"TYPE_{name}")
    for name in ("INT32", "INT64", "UINT32", "UINT64", "SINT32", "SINT64", "BOOL", "ENUM")
}

Shape = dict[int, Any]
"""Field number -> the descriptor of its messages, None for varints; other fields are left out."""


def check_density(data: bytes, descriptor: Any) -> None:
    """Counts the fields of a serialized message and of the messages in it; a packed field counts once.

    Raises InvalidInput once the part read so far has too many fields for its size. Malformed data pass: the parser
    refuses them at the same place.
    """
    shape, end, position, fields, numbers = _shape(descriptor), len(data), 0, 0, 0
    outer: list[tuple[Shape, int]] = []
    try:
        while True:
            while position >= end:
                if not outer:
                    return
                shape, end = outer.pop()
            fields += 1
            if fields > _FREE + position // _SPARSE:
                raise InvalidInput(
                    f"the message has more than {fields:,} fields in its first {position:,} bytes; past {_FREE:,} they "
                    f"may be one in {_SPARSE} bytes: send packed values or fewer items"
                )
            tag = data[position]
            position += 1
            if tag > 127:
                tag, position = _read_varint(data, position - 1)
            kind = tag & 7
            if kind == _LENGTH_DELIMITED:
                length = data[position]
                position += 1
                if length > 127:
                    length, position = _read_varint(data, position - 1)
                inner = shape.get(tag >> 3, _NOT_COUNTED)
                if inner is _NOT_COUNTED:
                    position += length
                elif inner is None:
                    numbers += _count_packed(data, position, min(length, len(data) - position))
                    position += length
                    if numbers > _MOST_PACKED:
                        raise InvalidInput(
                            f"the message has more than {_MOST_PACKED:,} integers one by one; "
                            "send them as the raw bytes of a tensor (tensor_content, raw_input_contents)"
                        )
                else:
                    outer.append((shape, end))
                    shape, end = _shape(inner), position + length
            elif kind == _VARINT:
                if data[position] > 127:
                    _, position = _read_varint(data, position)
                else:
                    position += 1
            elif kind in (_FIXED32, _FIXED64):
                position += 4 if kind == _FIXED32 else 8
            elif kind not in (_START_GROUP, _END_GROUP):
                return
    except (IndexError, _Malformed):  # it breaks off
        return


class _Malformed(Exception):
    """A varint of more bytes than 64 bits take."""


@cache
def _shape(descriptor: Any) -> Shape:
    counted = (field for field in descriptor.fields if field.message_type is not None or field.type in _WHOLE)
    return {field.number: field.message_type for field in counted}


def _count_packed(data: bytes, start: int, length: int) -> int:
    """The number of varints: each ends with a byte below 128."""
    count = 0
    for first in range(start, start + length, _STRETCH):
        stretch = np.frombuffer(data, np.uint8, min(_STRETCH, start + length - first), first)
        count += int(np.count_nonzero(stretch < 128))
    return count


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The varint at `position`, and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise _Malformed
