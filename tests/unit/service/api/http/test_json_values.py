"""The one reader of clients' JSON: what it takes, what it refuses, and what that costs."""

import base64
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.http import json_values
from service.api.http.json_values import LARGE, decode_base64, parse, read_array
from service.errors import InvalidInput, ServiceError, Unsupported, listed
from service.repository.manifest import TensorSpec


def padded(text: str) -> bytes:
    """The same value in a body that is read as large ones are."""
    return (text + " " * LARGE).encode()


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool", "string"])
@pytest.mark.parametrize(
    "values",
    [
        ["x" * 40_000, *[1] * 40_000],
        [1, "x" * 40_000, 2.5, None, True],
        [[1, 2], ["x" * 40_000, 1]],
        [1, {"b64": 1}, 2],
        [1, True, 2.5, [], {}],
    ],
)
def test_a_type_is_checked_and_never_guessed(values: list[Any], dtype: str) -> None:
    tracemalloc.start()
    with pytest.raises(InvalidInput):
        read_array("x", values, dtype)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21


def test_values_that_python_takes_for_each_other_are_told_apart() -> None:
    for values, dtype in (([True, 1], "int64"), ([1, True], "float32"), ([1.0, 2], "int32"), ([0, False], "bool")):
        with pytest.raises(InvalidInput, match="it takes"):
            read_array("x", values, dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint16", "int8", "uint64"])
def test_the_array_has_the_signatures_dtype(dtype: str) -> None:
    array = read_array("x", [[1, 2], [3, 4]], dtype)
    assert array.dtype == dtype and array.tolist() == [[1, 2], [3, 4]]
    assert read_array("x", [[], []], dtype).shape == (2, 0)
    with pytest.raises(Unsupported, match="DT_BFLOAT16"):
        read_array("x", [1], "DT_BFLOAT16")


@pytest.mark.parametrize("depth", [65, 900])
def test_lists_deeper_than_any_array_are_refused(depth: int) -> None:
    value = json.loads("[" * depth + "1" + "]" * depth)
    with pytest.raises(InvalidInput, match="64 levels"):
        read_array("x", value, "float32")
    assert read_array("x", json.loads("[" * 64 + "1" + "]" * 64), "float32").ndim == 64


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000, "[1, 2", "[" + "9" * 5000 + "]", "{]", ""]
)
def test_what_is_no_json_is_an_error(text: str, strict: bool) -> None:
    for body in (text.encode(), padded(text)):
        with pytest.raises((ValueError, InvalidInput)):
            parse(body, strict)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("padding", [0, LARGE])
def test_a_number_too_long_to_read_is_told_in_words_for_clients(strict: bool, padding: int) -> None:
    with pytest.raises(ValueError) as refused:
        parse(b"[" + b"9" * 5000 + b"]" + b" " * padding, strict)
    assert "sys." not in str(refused.value) and "number" in str(refused.value)


def test_many_values_of_another_shape_are_refused_before_an_array_is_made() -> None:
    values = [1] * 1_000_000
    tracemalloc.start()
    with pytest.raises(InvalidInput, match=r"input 'x' takes shape \[N, 28\], got \[1000000\]"):
        read_array("x", values, "float32", spec=TensorSpec("float32", (None, 28)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 9 * len(values), "their list, and no array"
    assert read_array("x", [values[:28]] * 10_000, "float32", spec=TensorSpec("float32", (None, 28))).shape == (
        10_000,
        28,
    )


@settings(deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=12,
    )
)
def test_large_bodies_are_read_as_small_ones(value: object) -> None:
    text = json.dumps(value)
    for strict in (True, False):
        assert parse(padded(text), strict) == parse(text.encode(), strict) == value


@pytest.mark.parametrize("body", ["[NaN]", "[Infinity, -Infinity]", "[1] behind", '["\udcff"]'])
def test_what_only_some_parsers_take_is_taken_where_that_is_asked_for(body: str) -> None:
    small = body.encode(errors="surrogateescape")
    for form in (small, small + b" " * LARGE):
        assert isinstance(parse(form, strict=False), list)
        with pytest.raises(ValueError):
            parse(form)


@pytest.mark.parametrize("padding", [0, LARGE])
def test_constants_pass_where_they_are_asked_for_and_nothing_else_does(padding: int) -> None:
    assert str(parse(b"[NaN, Infinity, -Infinity, 1]" + b" " * padding, constants=True)) == "[nan, inf, -inf, 1]"
    for wrong in (b"[1] behind", b'["NaN" 1]', b"[NaN] NaN", b'["\xff"]', b"nan"):
        with pytest.raises(ValueError):
            parse(wrong + b" " * padding, constants=True)


def test_whole_floats_are_whole_numbers_where_that_is_asked_for() -> None:
    assert read_array("x", [[1.0, 2], [-0.0, 255.0]], "uint8", whole_floats=True).tolist() == [[1, 2], [0, 255]]
    with pytest.raises(InvalidInput, match="a fraction"):
        read_array("x", [1.0], "uint8")
    for wrong, says in ((1.5, "a fraction"), (256.0, "0 to 255"), (1e300, "0 to 255"), (float("nan"), "a fraction")):
        with pytest.raises(InvalidInput, match=says):
            read_array("x", [2, wrong], "uint8", whole_floats=True)
    with pytest.raises(InvalidInput, match="a fraction"):
        read_array("x", [1.0], "bool", whole_floats=True)


@pytest.mark.parametrize("item", ["[]", "[[0]]", "{}", '{"":0}', '"ab"', '{"b64":""}'])
def test_large_bodies_dense_with_values_are_refused_before_they_are_parsed(item: str) -> None:
    body = ("[" + ",".join([item] * 1_000_000) + "]").encode()
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="send fewer rows"):
        parse(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(body)


@pytest.mark.parametrize("dense", ["[0,0,0]", "[0.1,0.2,0.3]", "[0]", "0", "1e9", '"abcdef"'])
def test_images_as_lists_of_pixels_are_not_too_dense(dense: str) -> None:
    assert len(parse(("[" + ",".join([dense] * 300_000) + "]").encode())) == 300_000


RAW = bytes(range(256)) + b"\xff\xfe\xfb"
TEXT = base64.b64encode(RAW).decode()
WAYS = {
    "as it is": TEXT,
    "broken into lines": base64.encodebytes(RAW).decode(),
    "with carriage returns": base64.encodebytes(RAW).decode().replace("\n", "\r\n"),
    "without padding": TEXT.rstrip("="),
    "url-safe": base64.urlsafe_b64encode(RAW).decode(),
    "url-safe without padding": base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    "a data: URL": f"data:image/jpeg;base64,{TEXT}",
    "a data: URL with parameters": f"DATA:image/png;name=cat.png;charset=utf-8;BASE64,{TEXT}\n",
    "a data: URL of no type": f"data:;base64,{TEXT}",
}


@pytest.mark.parametrize("way", WAYS)
def test_base64_is_read_as_people_have_it(way: str) -> None:
    for raw, text in ((RAW, WAYS[way]), (b"", ""), (b"a", "YQ"), (b"ab", "YWI=")):
        assert decode_base64("x", text) == raw


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("!", "'!' at position 0"),
        ("aGk=aGk=", "'='"),
        ("YWJjZ", "breaks off after 5"),
        ("YWI\xe9", r"'\\xe9' at position 3"),
    ],
)
def test_what_is_no_base64_is_told_where(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        decode_base64("x", text)


def test_clients_words_are_cut() -> None:
    assert listed(["b", "a"]) == "['a', 'b']" and listed([]) == "[]"
    assert len(listed([str(number) * 100 for number in range(100_000)])) < 2000
    assert listed(dict.fromkeys("abc")) == "['a', 'b', 'c']"
    assert len(ServiceError("x" * 10**6).message) < 2100


def test_text_beside_b64_says_what_strings_are() -> None:
    with pytest.raises(InvalidInput, match=r"with \['b64', 'x'\]"):
        json_values.read_bytes("x", {"b64": "", "x": 1})
