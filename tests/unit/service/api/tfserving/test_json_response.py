"""The text of TensorFlow Serving's REST replies: numbers by its rule, layout by its habits, values unharmed."""

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.api.tfserving.json_response import render_columns, render_numbers, render_predictions
from service.errors import InvalidInput
from service.types import Array, strings

ALL_DIGITS = {np.float32: 9, np.float64: 17}


def by_the_rule(value: np.float32 | np.float64) -> str:
    """The rule spelled out, one number at a time."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{float(value):.6g}"
    if type(value)(text) != value:
        text = f"{float(value):.{ALL_DIGITS[type(value)]}g}"
    return text if "." in text or "e" in text else f"{text}.0"


@given(st.sampled_from(list(ALL_DIGITS)).flatmap(lambda kind: hnp.arrays(kind, st.integers(0, 40))))
def test_numbers_follow_the_rule(values: Array) -> None:
    assert render_numbers(values) == [by_the_rule(value) for value in values]


@pytest.mark.parametrize("kind", list(ALL_DIGITS))
def test_numbers_of_every_size_follow_the_rule(kind: type[np.float32 | np.float64]) -> None:
    # What people send: few digits, whole, near powers of ten, tiny, huge.
    exponents = 10.0 ** np.arange(-44, 38)
    eighths, whole, any_old = (
        np.arange(-1000, 1000) / 8,
        np.arange(0, 2**25, 4099),
        np.random.default_rng(0).normal(size=5000),
    )
    all_of_them = [exponents, -exponents, exponents * 0.999999, exponents * 1.5, eighths, whole, any_old]
    several = np.concatenate(all_of_them).astype(kind)
    spread = np.concatenate([several, np.nextafter(several, kind(0)), np.nextafter(several, kind(np.inf))])
    assert render_numbers(spread) == [by_the_rule(value) for value in spread]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.5"),
        (3, "3.0"),
        (-0.0, "-0.0"),
        (0.2, "0.2"),
        (1 / 3, "0.333333343"),
        (9e6, "9e+06"),
        (3e-5, "3e-05"),
        (123456, "123456.0"),
        (16777216, "16777216.0"),
        (1e-45, "1.4013e-45"),
        (np.nan, "NaN"),
        (-np.inf, "-Infinity"),
    ],
)
def test_numbers_as_clients_know_them(value: float, text: str) -> None:
    assert render_numbers(np.asarray([value], np.float32)) == [text]


def test_rows_of_one_output_are_bare() -> None:
    text = render_predictions({"y": np.asarray([[2.5, 3], [4.5, 5]], np.float32)})
    assert text.decode() == '{\n    "predictions": [[2.5, 3.0], [4.5, 5.0]\n    ]\n}'


def test_rows_of_several_outputs_are_objects() -> None:
    outputs = {"n": np.asarray([[1, 2], [3, 4]], np.int64), "s": strings(["é".encode(), b'"\n'])}
    text = render_predictions(outputs).decode()
    assert '            "n": [1, 2],\n            "s": "é"\n' in text
    assert json.loads(text) == {"predictions": [{"n": [1, 2], "s": "é"}, {"n": [3, 4], "s": '"\n'}]}


def test_columns() -> None:
    one = render_columns({"y": np.asarray([[1, 2], [3, 4]], np.int8)}).decode()
    assert one == '{\n    "outputs": [\n        [1, 2],\n        [3, 4]\n    ]\n}'
    several = render_columns({"y": np.asarray([True, False]), "z": np.asarray(2.5)})
    assert json.loads(several) == {"outputs": {"y": [True, False], "z": 2.5}}


def test_names_that_end_in_bytes_are_base64() -> None:
    outputs = {"image_bytes": strings([b"\xff\xfe"]), "text": strings([b"ok"])}
    assert json.loads(render_predictions(outputs))["predictions"] == [{"image_bytes": {"b64": "//4="}, "text": "ok"}]
    assert b'"\xff\xfe"' in render_columns({"y": outputs["image_bytes"]}), "other strings go out as they are"


SAFE = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool"]


@given(
    st.sampled_from(SAFE).flatmap(lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, min_side=0, max_side=3)))
)
def test_values_and_shapes_survive(array: Array) -> None:
    back = json.loads(render_columns({"y": array}))["outputs"]
    np.testing.assert_array_equal(np.asarray(back, array.dtype).reshape(array.shape), array)
    if array.ndim and len(array):
        assert json.loads(render_predictions({"y": array}).replace(b"NaN", b"0")) is not None
        rows = json.loads(render_predictions({"y": array, "z": array}))["predictions"]
        assert str([row["y"] for row in rows]) == str(back)


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"y": np.zeros((), np.float32)}, "no rows"),
        ({"y": np.zeros((0, 3), np.float32)}, "no rows"),
        ({"y": np.zeros(2, np.float32), "z": np.zeros(3, np.float32)}, "differ in rows"),
        ({"y": np.zeros(2, np.float16)}, "float16"),
        ({"y": np.zeros(2, np.uint16)}, "uint16"),
        ({"y": np.zeros(2, np.complex64)}, "complex64"),
    ],
)
def test_what_cannot_be_rows_or_json(outputs: dict[str, Array], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        render_predictions(outputs)


def test_a_thousand_classes_of_32_rows_take_milliseconds() -> None:
    scores = {"scores": np.random.default_rng(0).dirichlet(np.ones(1000), 32).astype(np.float32)}
    took = []
    for _ in range(5):
        began = time.perf_counter()
        text = render_predictions(scores)
        took.append(time.perf_counter() - began)
    print(f"\n32 rows of 1000 float32: {min(took) * 1000:.1f} ms, {len(text):,} bytes")
    np.testing.assert_array_equal(np.asarray(json.loads(text)["predictions"], np.float32), scores["scores"])
    assert min(took) < 0.5
