"""The JSON bodies of TensorFlow Serving's REST API -> arrays.

Row form: {"instances": [...]}, a value a row, or an object of values by input. Columnar form: {"inputs": ...},
a value an input. Values are nested lists, numbers, booleans, strings and {"b64": "..."}.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from service.errors import InvalidInput, Unsupported
from service.manifest import STRING, Signature, TensorSpec
from service.messages import Array, Tensors, strings

INSTANCES = "instances"
INPUTS = "inputs"
_SIGNATURE = "signature_name"
_B64 = {"b64"}

_KINDS: dict[str, tuple[type, ...]] = {  # dtype -> what its values are in Python
    "float32": (int, float),
    "float64": (int, float),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"), (int,)),
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
_DECODER = json.JSONDecoder()

Document = Mapping[str, Any]


def parse(body: bytes) -> Document:
    """The first JSON value of a body, which is an object; what follows it is ignored.

    Raises InvalidInput where it is none, or its signature_name is no string.
    """
    if not body:
        raise InvalidInput('the body is empty; send JSON such as {"instances": [...]} or {"inputs": ...}')
    try:
        text = body.decode("utf-8-sig", "surrogateescape").lstrip(" \t\r\n")
        document, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput('the body is not a JSON object such as {"instances": [...]}')
    if not isinstance(document.get(_SIGNATURE, ""), str):
        raise InvalidInput(f"{_SIGNATURE} is a string, got {_NAMES[type(document[_SIGNATURE])]}")
    return document


def signature_name(document: Document) -> str:
    """Empty where it means the default one."""
    return str(document.get(_SIGNATURE, ""))


def tensors(document: Document, signature: Signature) -> Tensors:
    """Raises InvalidInput; Unsupported for `inputs` of a dtype that JSON does not carry."""
    if not signature.inputs:
        raise InvalidInput("the signature takes no inputs; such a one can be asked over gRPC only")
    rows, columns = INSTANCES in document, INPUTS in document
    if rows == columns:
        what = "has both" if rows else "has neither"
        raise InvalidInput(f"send either {INSTANCES!r} or {INPUTS!r}; the body {what}")
    return (_from_instances if rows else _from_inputs)(document[INSTANCES if rows else INPUTS], signature.inputs)


def _from_instances(instances: Any, specs: Mapping[str, TensorSpec]) -> Tensors:
    if not isinstance(instances, list) or not instances:
        raise InvalidInput(f"{INSTANCES!r} is a list with at least one value")
    named = [_is_named(instance) for instance in instances]
    if any(named) and not all(named):
        raise InvalidInput(
            f"{INSTANCES!r} holds objects or values, not some of each; see item {named.index(not named[0])}"
        )
    if not named[0]:
        if len(specs) > 1:
            raise InvalidInput(
                f"the signature has several inputs: every item of {INSTANCES!r} is an object with {sorted(specs)}"
            )
        by_alias = {next(iter(specs)): instances}
    else:
        for item, instance in enumerate(instances):
            if instance.keys() != specs.keys():
                raise InvalidInput(
                    f"item {item} of {INSTANCES!r} has {sorted(instance)}; it needs exactly {sorted(specs)}", item=item
                )
        by_alias = {alias: [instance[alias] for instance in instances] for alias in specs}
    try:
        return {alias: _array(alias, values, specs[alias].dtype, first=-1) for alias, values in by_alias.items()}
    except Unsupported as error:
        raise InvalidInput(error.message, **error.detail) from error


def _from_inputs(inputs: Any, specs: Mapping[str, TensorSpec]) -> Tensors:
    if not _is_named(inputs):
        if len(specs) > 1:
            raise InvalidInput(f"the signature has several inputs: {INPUTS!r} is an object with {sorted(specs)}")
        inputs = {next(iter(specs)): inputs}
    if missing := [alias for alias in specs if alias not in inputs]:
        raise InvalidInput(f"{INPUTS!r} lacks {missing[0]!r}; it needs {sorted(specs)}", input=missing[0])
    return {alias: _array(alias, inputs[alias], spec.dtype, first=0) for alias, spec in specs.items()}


def _is_named(value: Any) -> bool:
    """An object of values by input; {"b64": "..."} is a value."""
    return isinstance(value, dict) and not _is_b64(value)


def _is_b64(value: dict[str, Any]) -> bool:
    return value.keys() == _B64 and isinstance(value["b64"], str)


def _array(alias: str, value: Any, dtype: str, first: int) -> Array:
    """The shape is that of the first item everywhere; `first` is the level at which errors begin to count."""
    shape: list[int] = []
    flat = [value]
    while flat and isinstance(flat[0], list):
        level, size = first + len(shape), len(flat[0])
        for index, item in enumerate(flat):
            if not isinstance(item, list):
                raise _bad(
                    alias, shape, index, first, f"{_NAMES[type(item)]} at level {level}, where the others have lists"
                )
            if len(item) != size:
                raise _bad(
                    alias, shape, index, first, f"a list of size {len(item)} at level {level}; expected size {size}"
                )
        shape.append(size)
        flat = list(chain.from_iterable(flat))
    if dtype not in _KINDS:
        raise Unsupported(f"input {alias!r} is {dtype}, which JSON does not carry; ask over gRPC", input=alias)
    wanted = _KINDS[dtype]
    if not set(map(type, flat)).issubset(wanted):
        index = next(index for index, item in enumerate(flat) if type(item) not in wanted)
        deeper = " deeper than the others" if isinstance(flat[index], list) else ""
        given = f"{_NAMES[type(flat[index])]}{deeper} at level {first + len(shape)}"
        takes = 'string: text or {"b64": "..."}' if dtype == STRING else dtype
        raise _bad(alias, shape, index, first, f"{given}; it takes {takes}")
    return _filled(alias, flat, dtype).reshape(shape)


def _bad(alias: str, shape: list[int], index: int, first: int, what: str) -> InvalidInput:
    if first == 0:
        return InvalidInput(f"input {alias!r}: {what}", input=alias)
    item = index // max(1, int(np.prod(shape[1:], dtype=np.int64)))
    return InvalidInput(f"item {item} of {INSTANCES!r}, input {alias!r}: {what}", input=alias, item=item)


def _filled(alias: str, flat: list[Any], dtype: str) -> Array:
    if dtype == STRING:
        return strings([raw(f"input {alias!r}", value) for value in flat])
    try:
        with np.errstate(over="ignore"):  # a double that no float holds is infinite
            return np.array(flat, dtype)
    except OverflowError as error:
        raise InvalidInput(f"input {alias!r}: a number does not fit {dtype}", input=alias) from error


def raw(where: str, value: str | dict[str, Any]) -> bytes:
    """Of text or {"b64": "..."}. Raises InvalidInput, which begins with `where`."""
    try:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if not _is_b64(value):
            raise InvalidInput(f"{where}: strings are text or an object with b64 alone, not with {sorted(value)}")
        text = "".join(value["b64"].split()).rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{where}: the text holds half a surrogate pair") from error
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{where}: b64 is not base64 ({error})") from error
