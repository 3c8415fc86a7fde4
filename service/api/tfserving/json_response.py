"""Outputs as the JSON text that TensorFlow Serving's REST API answers with.

`render_predictions` has a value a row, `outputs` a value an output; one output stands bare, several are an object.
Lists within a row stand on one line.
"""

import base64
import json
import math

import numpy as np

from service.errors import InvalidInput
from service.types import Array, Tensors

_INDENT = "    "
_BYTES = "_bytes"  # the ending of an output's name that asks for base64
_INTEGERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"})
_ALL_DIGITS = {"float32": 9, "float64": 17}  # significant ones, that always read back the same
_FEW_DIGITS = 6


def render_predictions(outputs: Tensors) -> bytes:
    """Raises InvalidInput where the outputs do not have one number of rows, or a dtype that JSON is not given."""
    count = _rows(outputs)
    columns = {alias: _nested(_texts(alias, array), array.shape[1:], count) for alias, array in outputs.items()}
    if len(columns) == 1:
        (items,) = columns.values()
        body = f"[{', '.join(items)}\n{_INDENT}]"
    else:
        keys = [json.dumps(alias, ensure_ascii=False) for alias in columns]
        rows = [
            [f"{key}: {text}" for key, text in zip(keys, row, strict=True)]
            for row in zip(*columns.values(), strict=True)
        ]
        body = _block("[", [_block("{", row, "}", 2) for row in rows], "]", 1)
    return _encode(f'{{\n{_INDENT}"predictions": {body}\n}}')


def render_columns(outputs: Tensors) -> bytes:
    """Raises InvalidInput for a dtype that JSON is not given."""
    several = len(outputs) > 1
    texts = {alias: _column(alias, array, 2 if several else 1) for alias, array in outputs.items()}
    if several:
        body = _block(
            "{", [f"{json.dumps(alias, ensure_ascii=False)}: {text}" for alias, text in texts.items()], "}", 1
        )
    else:
        (body,) = texts.values()
    return _encode(f'{{\n{_INDENT}"outputs": {body}\n}}')


def render_classifications(labels: Array, scores: Array) -> bytes:
    """A list of [label, score] a row. Both are [N, C], bytes and floats."""
    names = _texts("", labels)
    pairs = [f"[{name}, {score}]" for name, score in zip(names, render_numbers(np.ravel(scores)), strict=True)]
    rows = _nested(pairs, labels.shape[1:], len(labels))
    return _encode(f'{{\n{_INDENT}"results": [{", ".join(rows)}\n{_INDENT}]\n}}')


def render_regressions(values: Array) -> bytes:
    """A number a row. `values` is [N]."""
    return _encode(f'{{\n{_INDENT}"results": [{", ".join(render_numbers(values))}]\n}}')


def _rows(outputs: Tensors) -> int:
    sizes = {alias: array.shape[0] if array.ndim else None for alias, array in outputs.items()}
    for alias, size in sizes.items():
        if not size:
            raise InvalidInput(f'output {alias!r} has no rows; ask with "inputs" instead of "instances"', output=alias)
    if len(set(sizes.values())) > 1:
        raise InvalidInput(f'the outputs differ in rows: {sizes}; ask with "inputs" instead of "instances"')
    return next(len(array) for array in outputs.values())


def _column(alias: str, array: Array, depth: int) -> str:
    texts = _texts(alias, array)
    if array.ndim == 0:
        return texts[0]
    items = _nested(texts, array.shape[-1:], math.prod(array.shape[:-1]))
    for level in range(array.ndim - 2, -1, -1):
        size, count = array.shape[level], math.prod(array.shape[:level])
        items = [_block("[", items[i * size : (i + 1) * size], "]", depth + level) for i in range(count)]
    return items[0]


def _block(opening: str, items: list[str], closing: str, depth: int) -> str:
    """One item a line, for a list or an object whose own line is `depth` deep."""
    inner, outer = "\n" + _INDENT * (depth + 1), "\n" + _INDENT * depth
    return f"{opening}{inner}{f',{inner}'.join(items)}{outer}{closing}" if items else opening + closing


def _nested(texts: list[str], shape: tuple[int, ...], count: int) -> list[str]:
    """`count` values of that shape, each on one line."""
    for level in range(len(shape) - 1, -1, -1):
        size, lists = shape[level], count * math.prod(shape[:level])
        texts = [f"[{', '.join(texts[i * size : (i + 1) * size])}]" for i in range(lists)]
    return texts


def _texts(alias: str, array: Array) -> list[str]:
    """The JSON text of every element, in C order."""
    flat = np.ravel(array)
    name = flat.dtype.name
    if name in _ALL_DIGITS:
        return render_numbers(flat)
    if name in _INTEGERS:
        return [str(value) for value in flat.tolist()]
    if name == "bool":
        return ["true" if value else "false" for value in flat.tolist()]
    if flat.dtype.kind not in "OSU":
        raise InvalidInput(f"output {alias!r} is {name}, which is not written as JSON; ask over gRPC", output=alias)
    if alias.endswith(_BYTES):
        return [f'{{"b64": "{base64.b64encode(_raw(value)).decode()}"}}' for value in flat]
    return [json.dumps(_raw(value).decode("utf-8", "surrogateescape"), ensure_ascii=False) for value in flat]


def render_numbers(flat: Array) -> list[str]:
    """Floats as TensorFlow Serving writes them: six significant digits where those read back the same, else all;
    `.0` behind whole numbers that have no exponent. `flat` is float32 or float64, shape [N].
    """
    all_digits = _ALL_DIGITS[flat.dtype.name]
    formats = np.where(_are_short(flat), f"%.{_FEW_DIGITS}g ", f"%.{all_digits}g ")
    texts = ("".join(formats.tolist()) % tuple(flat.tolist())).split()
    for index in np.flatnonzero(flat == np.rint(flat)).tolist():
        if texts[index].lstrip("-").isdigit():
            texts[index] += ".0"
    for index in np.flatnonzero(~np.isfinite(flat)).tolist():
        texts[index] = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[texts[index]]
    return texts


def _are_short(flat: Array) -> Array:
    """Which values six significant digits say exactly."""
    if flat.dtype == np.float64:
        return np.array([float(f"{value:.{_FEW_DIGITS}g}") == value for value in flat.tolist()], np.bool_)
    # The same question without a text for each of maybe 32,000: float64 errs by less than a float32 can tell.
    wide = flat.astype(np.float64)
    with np.errstate(all="ignore"):  # zero, infinity and NaN come out as not short, and read the same either way
        scale = 10.0 ** (_FEW_DIGITS - 1 - np.floor(np.log10(np.abs(wide))))
        return np.asarray((np.rint(wide * scale) / scale).astype(np.float32) == flat)


def _raw(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # what is not UTF-8 goes out as it came
