"""JSON that clients send -> values and arrays: the one reader of every HTTP API.

NumPy never guesses a type from what a client sends: the shape and each element's type are checked first, and the array
is made with the signature's dtype. What a body may become in memory is bounded before it is parsed.
"""

import base64
import json
import re
import sys
from collections.abc import Callable
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import orjson

from service.errors import InvalidInput, Unsupported, listed
from service.repository.manifest import STRING, TensorSpec
from service.types import Array, strings

LARGE = 2**18
"""Bytes of a body past which parsing it takes milliseconds."""

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_KINDS: dict[str, tuple[type, ...]] = {  # dtype -> what its values are in Python
    **dict.fromkeys(("float16", "float32", "float64"), (int, float)),
    **dict.fromkeys(_INTEGERS, (int,)),
    "bool": (bool,),
    STRING: (str, dict),
}
_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    float: "a fraction",
    int: "a whole number",
    bool: "true or false",
    type(None): "null",
}
_STRETCH = 2**16
_MOST_DIMENSIONS = 64  # NumPy's own bound

_FREE = 2**16  # of each sort of value, in a body of any size
_SPARSE = {b"[": (4, "lists"), b"{": (64, "objects"), b'"': (4, "quotes")}  # bytes that a body has for each of a sort

_CONSTANT = re.compile(rb"\b(NaN|Infinity)\b")

_B64 = {"b64"}
_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_URL_SAFE = str.maketrans("-_", "+/")


def parse(body: bytes, strict: bool = True, constants: bool = False) -> Any:
    """The value of a JSON text. `strict` takes what the standard allows, and NaN and infinities where `constants`, as
    Triton has it; otherwise these, bytes that are not UTF-8, and anything behind the first value pass too, as
    TensorFlow Serving has it.

    Raises ValueError, saying what is wrong with the text, and InvalidInput for one that is dense with lists, objects or
    strings: each takes up to thirty times its bytes in memory.
    """
    hooks: dict[str, Any] = {}
    if len(body) > LARGE:
        _check_density(body)
        try:
            return orjson.loads(body)  # several times as fast as the standard library, which takes a few texts more
        except ValueError:
            if strict and not (constants and _CONSTANT.search(body)):
                raise
        # Functions in Python let other threads take their turn, which a parser in C does not.
        number: Callable[[str], float] = lambda text: float(text)  # noqa: E731
        hooks = {"parse_float": number, "parse_int": lambda text: int(text), "parse_constant": number}
    try:
        if strict:
            return json.loads(body, **(hooks if constants else {"parse_constant": _refuse_constant}))
        text = body.decode("utf-8-sig", "surrogateescape").lstrip(" \t\r\n")
        return json.JSONDecoder(**hooks).raw_decode(text)[0]
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):  # advice for programs in Python, not for their clients
            raise ValueError(f"a number has more than {sys.get_int_max_str_digits():,} digits") from error
        raise


def _check_density(body: bytes) -> None:
    for mark, (size, what) in _SPARSE.items():
        count, most = body.count(mark), _FREE + len(body) // size
        if count > most:
            raise InvalidInput(
                f"the JSON has {count:,} {what} in {len(body):,} bytes, where {most:,} are possible; "
                "send fewer rows, or tensors as bytes",
            )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")


def name_type(value: Any) -> str:
    """What a value is, in JSON's words: "a list"."""
    return _NAMES[type(value)]


def is_b64(value: Any) -> bool:
    """Whether a value is {"b64": "..."}, which stands for bytes."""
    return isinstance(value, dict) and value.keys() == _B64 and isinstance(value["b64"], str)


def read_array(
    alias: str,
    value: Any,
    dtype: str,
    first: int = 0,
    items: str = "",
    spec: TensorSpec | None = None,
    *,
    whole_floats: bool = False,
) -> Array:
    """Nested lists, or one value, as an array of `dtype`. The shape is that of the first item everywhere. That of many
    values is held against `spec` before they are looked through; whoever gets an array checks it all the same.

    With `whole_floats`, 2.0 is a whole number too: languages without integers write it so.

    Errors count levels from `first`, and name the item of the list `items`, where that is given.
    Raises InvalidInput, naming the input and the level, where a size or an element's type differs; Unsupported for a
    dtype that JSON does not carry.
    """
    if dtype not in _KINDS:
        raise Unsupported(f"input {alias!r} is {dtype}, which JSON does not carry; ask over gRPC", input=alias)
    shape: list[int] = []
    flat = [value]

    def refuse(index: int, what: str) -> NoReturn:
        if not items:
            raise InvalidInput(f"input {alias!r}: {what}", input=alias)
        size = 1
        for length in shape[1:]:
            size *= length
        item = index // max(1, size)
        raise InvalidInput(f"item {item} of {items!r}, input {alias!r}: {what}", input=alias, item=item)

    while flat and isinstance(flat[0], list):
        level, size = first + len(shape), len(flat[0])
        if len(shape) == _MOST_DIMENSIONS:
            refuse(0, f"lists are nested more than {_MOST_DIMENSIONS} levels deep")
        for index, item in enumerate(flat):
            if not isinstance(item, list):
                refuse(index, f"{name_type(item)} at level {level}, where the others have lists")
            if len(item) != size:
                refuse(index, f"a list of size {len(item)} at level {level}; expected size {size}")
        shape.append(size)
        flat = list(chain.from_iterable(flat))
    if spec is not None and len(flat) > _STRETCH:
        spec.check_shape(alias, tuple(shape))
    wanted = _KINDS[dtype]
    kinds = set(map(type, flat))
    if whole_floats and dtype in _INTEGERS and float in kinds:
        flat = [int(item) if type(item) is float and item.is_integer() else item for item in flat]
        kinds = set(map(type, flat))
    if not kinds.issubset(wanted):
        index = next(index for index, item in enumerate(flat) if type(item) not in wanted)
        deeper = " deeper than the others" if isinstance(flat[index], list) else ""
        takes = 'string: text or {"b64": "..."}' if dtype == STRING else dtype
        refuse(index, f"got {name_type(flat[index])}{deeper} at level {first + len(shape)}; it takes {takes}")
    return _fill(alias, flat, dtype).reshape(shape)


def _fill(alias: str, flat: list[Any], dtype: str) -> Array:
    if dtype == STRING:
        return strings([read_bytes(f"input {alias!r}", value) for value in flat])
    array = np.empty(len(flat), dtype)
    try:
        with np.errstate(over="ignore"):  # a double that no float holds is infinite
            for start in range(0, len(flat), _STRETCH):  # between two of them other threads get their turn
                array[start : start + _STRETCH] = np.array(flat[start : start + _STRETCH], dtype)
        return array
    except OverflowError as error:
        limits = f", {np.iinfo(dtype).min} to {np.iinfo(dtype).max}" if dtype in _INTEGERS else ""
        raise InvalidInput(f"input {alias!r}: a number does not fit {dtype}{limits}", input=alias) from error


def read_bytes(where: str, value: str | dict[str, Any]) -> bytes:
    """Of text or {"b64": "..."}. Raises InvalidInput, which begins with `where`."""
    if isinstance(value, dict):
        if not is_b64(value):
            raise InvalidInput(f"{where}: strings are text or an object with b64 alone, not with {listed(value)}")
        return decode_base64(where, value["b64"])
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{where}: the text holds half a surrogate pair") from error


def decode_base64(where: str, text: str) -> bytes:
    """Base64 as people have it: either alphabet, broken into lines, without its padding, behind a data: URL's head.

    Raises InvalidInput, which begins with `where`.
    """
    if head := _DATA_URL.match(text):
        text = text[head.end() :]
    text = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
    if wrong := _NO_BASE64.search(text):
        at = f"{wrong[0]!a} at position {wrong.start():,}"
        raise InvalidInput(f"{where}: b64 is not base64: {at} is none of its letters")
    if len(text) % 4 == 1:
        raise InvalidInput(f"{where}: b64 is not base64: it breaks off after {len(text):,} letters")
    return base64.b64decode(text + "=" * (-len(text) % 4))
