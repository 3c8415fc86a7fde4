"""TensorFlow Serving's JSON bodies, both forms, and each way to get them wrong."""

import base64
import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.api.tfserving.examples import read_json
from service.api.tfserving.json_request import parse_document, read_tensors
from service.errors import InvalidInput, Unsupported
from service.repository.manifest import Signature, TensorSpec
from service.types import Array, Tensors

NAMES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool"]


def takes(**dtypes: str) -> Signature:
    return Signature({alias: TensorSpec(dtype, None) for alias, dtype in dtypes.items()}, {})


def read(body: str | bytes, signature: Signature) -> Tensors:
    document = parse_document(body.encode() if isinstance(body, str) else body)
    return read_tensors(document, signature)


@given(
    st.sampled_from(NAMES).flatmap(
        lambda name: hnp.arrays(
            name, hnp.array_shapes(min_dims=0, max_side=3), elements={"allow_nan": False} if "float" in name else None
        )
    )
)
def test_arrays_survive(array: Array) -> None:
    signature = takes(x=array.dtype.name)
    column = read(json.dumps({"inputs": array.tolist()}), signature)["x"]
    assert column.dtype == array.dtype and column.shape == array.shape
    np.testing.assert_array_equal(column, array)
    rows = read(json.dumps({"instances": [{"x": array.tolist()}] * 2}), signature)["x"]
    np.testing.assert_array_equal(rows, np.stack([array, array]))


def test_values_or_objects_by_name() -> None:
    one, two = takes(x="float32"), takes(x="float32", n="int64")
    assert read('{"instances": [[1, 2], [3, 4.5]]}', one)["x"].tolist() == [[1, 2], [3, 4.5]]
    assert read('{"instances": [{"x": 1}, {"x": 2}]}', one)["x"].tolist() == [1, 2]
    rows = read('{"instances": [{"x": [1], "n": 7}, {"x": [2], "n": 8}]}', two)
    assert {alias: array.tolist() for alias, array in rows.items()} == {"x": [[1], [2]], "n": [7, 8]}
    columns = read('{"inputs": {"x": [1, 2, 3], "n": 7, "unheard of": 1}}', two)
    assert {alias: array.tolist() for alias, array in columns.items()} == {"x": [1, 2, 3], "n": 7}
    assert read('{"inputs": []}', one)["x"].shape == (0,)
    assert read('{"instances": [[[], []]]}', one)["x"].shape == (1, 2, 0)


def test_strings_are_text_or_base64() -> None:
    raw = b"\x00\xff\xfe"
    text = base64.b64encode(raw).decode()
    for spelling in (text, text[:2] + "\n" + text[2:], text.rstrip("=")):
        body = json.dumps({"instances": ["é", {"b64": spelling}]})
        assert read(body, takes(s="string"))["s"].tolist() == ["é".encode(), raw]
    assert read(json.dumps({"inputs": {"b64": text}}), takes(s="string"))["s"].item() == raw
    assert read(json.dumps({"instances": [{"s": {"b64": text}}]}), takes(s="string"))["s"].tolist() == [raw]
    assert read(b'{"inputs": ["\xff"]}', takes(s="string"))["s"].tolist() == [b"\xff"], "not UTF-8, taken as it is"


def test_numbers_that_only_some_parsers_take() -> None:
    assert str(read('{"inputs": [NaN, Infinity, -Infinity]}', takes(x="float32"))["x"].tolist()) == "[nan, inf, -inf]"
    assert read('{"inputs": [1e40]}', takes(x="float32"))["x"].tolist() == [np.inf]
    assert read(f'{{"inputs": [{2**70}]}}', takes(x="float32"))["x"].tolist() == [2**70]


@pytest.mark.parametrize(
    "body", ['{"inputs": [1]} trailing {', '\ufeff {"inputs": [1]}', '\n\t{"inputs": [1], "x": 2}']
)
def test_what_stands_around_the_value_is_ignored(body: str) -> None:
    assert read(body, takes(x="float32"))["x"].tolist() == [1]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "empty"),
        ("[1]", "not a JSON object"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ('{"instances": [1], "signature_name": 1}', "signature_name"),
        ('{"instances": [%s]}' % ("9" * 5000), "JSON"),
        ("{}", "neither"),
        ('{"instances": [1], "inputs": [1]}', "both"),
        ('{"instances": 1}', "list"),
        ('{"instances": []}', "at least one"),
        ('{"instances": [1, {"x": 2}]}', "not some of each; see item 1"),
        ('{"instances": [{"x": 2}, 1]}', "not some of each; see item 1"),
        ('{"instances": [{"x": 2, "more": 1}]}', r"item 0 .* exactly \['x'\]"),
        ('{"instances": [{"x": 2}, {}]}', "item 1"),
        ('{"instances": [[1, 2], [3]]}', "item 1 .* size 1 at level 0; expected size 2"),
        ('{"instances": [[[1], [2]], [[3], [4, 5]]]}', "item 1 .* size 2 at level 1; expected size 1"),
        ('{"instances": [[1], 2]}', "item 1 .* whole number at level 0"),
        ('{"instances": [1, [2]]}', "item 1 .* list deeper"),
        ('{"instances": ["a"]}', "text .* takes float32"),
        ('{"instances": [null]}', "null"),
        ('{"instances": [true]}', "true or false"),
        ('{"instances": [{"b64": "aGk="}]}', "an object .* takes float32"),
        ('{"inputs": {"y": 1}}', "lacks 'x'"),
        ('{"inputs": [[1, 2], [3]]}', "size 1 at level 1; expected size 2"),
    ],
)
def test_bad_bodies_say_where(body: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read(body, takes(x="float32"))


@pytest.mark.parametrize(
    ("value", "dtype", "says"),
    [
        ("1.0", "int32", "fraction"),
        ("true", "int32", "true or false"),
        ("1", "bool", "whole number"),
        ("300", "uint8", "does not fit"),
        ("-1", "uint64", "does not fit"),
        ("9223372036854775808", "int64", "does not fit"),
        ("1" + "0" * 400, "float32", "does not fit"),
        ('"1"', "float32", "text"),
        ("1", "string", "whole number"),
        ('{"b64": "!"}', "string", "not base64"),
        ('{"b64": "a"}', "string", "not base64"),
        ('"\\ud800"', "string", "surrogate"),
    ],
)
def test_values_of_another_type(value: str, dtype: str, says: str) -> None:
    for body in (f'{{"inputs": [{value}]}}', f'{{"instances": [{value}]}}'):
        with pytest.raises(InvalidInput, match=says):
            read(body, takes(x=dtype))


def test_several_inputs_need_names() -> None:
    two = takes(x="float32", y="float32")
    for body in ('{"instances": [1]}', '{"inputs": [1]}', '{"inputs": {"b64": "aGk="}}'):
        with pytest.raises(InvalidInput, match="several inputs"):
            read(body, two)
    with pytest.raises(InvalidInput, match="no inputs"):
        read('{"inputs": {}}', takes())


@pytest.mark.parametrize("dtype", ["float16", "uint16", "DT_BFLOAT16", "DT_COMPLEX64"])
def test_types_json_does_not_carry(dtype: str) -> None:
    with pytest.raises(Unsupported, match=dtype):
        read('{"inputs": [1]}', takes(x=dtype))
    with pytest.raises(InvalidInput, match=dtype):
        read('{"instances": [1]}', takes(x=dtype))


_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["x", "y", "b64", ""]) | st.text(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(["instances", "inputs", "examples", "context"]),
    _ANY_JSON,
    st.sampled_from([*NAMES, "string", "float16"]),
)
def test_no_json_is_more_than_a_bad_request(key: str, value: object, dtype: str) -> None:
    document = parse_document(json.dumps({"examples": [{}], key: value}).encode())
    for signature in (takes(x=dtype), takes(x=dtype, y="int32")):
        try:
            arrays = read_tensors(document, signature)
        except (InvalidInput, Unsupported):
            continue
        assert set(arrays) == set(signature.inputs)
    with contextlib.suppress(InvalidInput):
        assert all(isinstance(example, bytes) for example in read_json(document))
