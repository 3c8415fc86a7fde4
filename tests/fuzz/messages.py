"""Protobuf messages damaged by chance: fields that say something else, or bytes that are no message."""

import random
from collections.abc import Sequence
from typing import Any

from tests.fuzz import binary, documents


def damage(message: Any, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Most of them are protobuf still, with fields that say something else; the others are damaged bytes."""
    if chance.random() < 0.3:
        return binary.damage(message.SerializeToString(), others, chance)
    changed = type(message)()
    changed.CopyFrom(message)
    for _ in range(chance.randint(1, 3)):
        _change_field(changed, chance)
    return bytes(changed.SerializeToString())


def _change_field(message: Any, chance: random.Random) -> None:
    """Some field of the message or of one inside it."""
    within = list(_messages(message))
    one = chance.choice(within)
    fields = one.DESCRIPTOR.fields
    present = [field for field, _ in one.ListFields()]
    field = chance.choice(present or fields) if chance.random() < 0.7 else chance.choice(fields or present)
    if field is None:
        return
    if chance.random() < 0.15:
        one.ClearField(field.name)
    elif field.message_type is not None:
        if not field.is_repeated:
            getattr(one, field.name).SetInParent()
        elif not field.message_type.GetOptions().map_entry:
            getattr(one, field.name).add()
    elif field.is_repeated:
        values = getattr(one, field.name)
        match chance.randrange(3):
            case 0:
                values.extend([_value(field, chance) for _ in range(chance.choice((1, 2, 100)))])
            case 1 if values:
                del values[chance.randrange(len(values)) :]
            case _ if values:
                values[chance.randrange(len(values))] = _value(field, chance)
    else:
        setattr(one, field.name, _value(field, chance))


def _messages(message: Any) -> Any:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for each in value.values():
                    yield from _messages(each)
        else:
            for each in value if field.is_repeated else [value]:
                yield from _messages(each)


def _value(field: Any, chance: random.Random) -> Any:
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        text = chance.choice(documents.STRINGS).encode("utf-8", "replace")
        return text if field.type == field.TYPE_BYTES else text.decode()
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return chance.choice((0.0, -1.0, 3e38, float("inf"), float("nan")))
    if kind == field.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind == field.CPPTYPE_ENUM:
        return chance.choice((0, 1, 3, 4, 7, 14, 19, 21, 22, 23, 30, 101, 2**31 - 1, -1))
    signed = kind in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    bits = 32 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    top = 2 ** (bits - signed) - 1
    return chance.choice((0, 1, 2, 3, 28, 255, 2**20, 2**31 - 1, top, -1 if signed else top, -top - 1 if signed else 7))
