"""Open Inference Protocol tensors, held against Triton's own client code."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor

from service.api.oip import protocol
from service.api.oip.tensors import encode_raw, name_datatype, parse_contents, parse_raw
from service.errors import BackendFailed, InvalidInput
from service.protobuf.stubs import oip_pb2
from service.repository.manifest import Manifest, Signature, TensorSpec
from service.types import Array, strings

NUMBERS = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
]
FIELDS = {
    "bool": "bool_contents",
    **dict.fromkeys(("uint8", "uint16", "uint32"), "uint_contents"),
    "uint64": "uint64_contents",
    **dict.fromkeys(("int8", "int16", "int32"), "int_contents"),
    "int64": "int64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
}


def arrays(*names: str) -> st.SearchStrategy[Array]:
    shapes = hnp.array_shapes(min_dims=0, min_side=0, max_side=4)
    return st.sampled_from(names).flatmap(lambda name: hnp.arrays(name, shapes))


@given(arrays(*NUMBERS))
def test_numbers_survive_raw_and_are_called_what_triton_calls_them(array: Array) -> None:
    datatype = name_datatype(array.dtype.name)
    assert datatype == np_to_triton_dtype(array.dtype)
    assert encode_raw(array) == array.tobytes()
    back = parse_raw("x", datatype, array.shape, array.tobytes())
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@given(arrays(*FIELDS))
def test_numbers_survive_typed_contents(array: Array) -> None:
    contents = oip_pb2.InferTensorContents(**{FIELDS[array.dtype.name]: array.ravel().tolist()})
    back = parse_contents("x", name_datatype(array.dtype.name), array.shape, contents)
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@given(st.lists(st.binary(max_size=5), max_size=6))
def test_text_is_written_and_read_as_triton_does(values: list[bytes]) -> None:
    theirs = serialize_byte_tensor(strings(values))
    raw = theirs.item() if theirs.size else b""
    assert encode_raw(strings(values)) == raw
    assert list(parse_raw("x", "BYTES", [len(values)], raw)) == values
    contents = oip_pb2.InferTensorContents(bytes_contents=values)
    assert list(parse_contents("x", "BYTES", [len(values)], contents)) == values


def test_rows_that_are_all_the_same_are_written_like_others() -> None:
    labels = strings([b"cat", b"", b"dog"])
    raw = encode_raw(np.broadcast_to(labels, (4, 3)))
    assert raw == encode_raw(np.stack([labels] * 4))
    assert list(deserialize_bytes_tensor(raw)) == list(labels) * 4
    assert encode_raw(np.broadcast_to(labels, (0, 3))) == b""


def test_numbers_that_lie_odd_in_a_body_are_aligned() -> None:
    body = b"{}x" + np.arange(3, dtype=np.float32).tobytes()
    array = parse_raw("x", "FP32", [3], memoryview(body)[3:])
    assert array.flags.aligned and array.tolist() == [0, 1, 2]


def test_every_byte_but_zero_is_true() -> None:
    array = parse_raw("x", "BOOL", [3], b"\x00\x01\x07")
    assert array.view(np.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "says"),
    [
        ("FP32", [2], b"\0" * 7, "8 bytes, got 7"),
        ("FP32", [], b"", "4 bytes, got 0"),
        ("FP32", [-1], b"\0" * 4, "from 0"),
        ("FP32", [1] * 65, b"\0" * 4, "65 dimensions"),
        ("FP32", [2**61, 2**61], b"\0" * 4, "bytes, got 4"),
        ("FP32", [2**70, 0], b"", "from 0"),
        ("FP32", [2**61, 2**61, 0], b"", "not possible"),
        ("BF16", [1], b"\0\0", "send FP32"),
        ("float32", [1], b"\0" * 4, "FP32"),
        ("", [1], b"\0" * 4, "FP32"),
        ("BYTES", [1], b"\5\0\0\0abc", "breaks off"),
        ("BYTES", [1], b"\5\0", "breaks off"),
        ("BYTES", [2], b"\1\0\0\0a", "2 values, got 1"),
        ("BYTES", [1], struct.pack("<I", 2**32 - 1) + b"a", "breaks off"),
    ],
)
def test_raw_bytes_that_do_not_fit_say_why(datatype: str, shape: list[int], data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        parse_raw("x", datatype, shape, data)


@pytest.mark.parametrize(
    ("datatype", "shape", "contents", "says"),
    [
        ("UINT8", [1], {"uint_contents": [256]}, "0 to 255"),
        ("INT8", [2], {"int_contents": [0, -129]}, "-128 to 127"),
        ("FP32", [2], {"fp32_contents": [1.0]}, "2 values, got 1"),
        ("FP32", [1], {"fp64_contents": [1.0]}, "1 values, got 0"),
        ("FP16", [1], {"fp32_contents": [1.0]}, "raw_input_contents"),
        ("BF16", [1], {"fp32_contents": [1.0]}, "send FP32"),
    ],
)
def test_contents_that_do_not_fit_say_why(datatype: str, shape: list[int], contents: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        parse_contents("x", datatype, shape, oip_pb2.InferTensorContents(**contents))


def test_what_the_protocol_cannot_carry_is_the_models_fault() -> None:
    with pytest.raises(BackendFailed, match="complex64"):
        encode_raw(np.zeros(1, np.complex64))


def test_classes_are_ranked_and_named() -> None:
    scores = np.asarray([[0.25, 0.5, 0.25], [1, 0, np.nan]], np.float32)
    best = protocol.rank_classes(scores, ["cat", "dog", "owl"], 2)
    assert best.tolist() == [[b"0.500000:1:dog", b"0.250000:0:cat"], [b"1.000000:0:cat", b"0.000000:1:dog"]]
    assert protocol.rank_classes(scores[0], ["too", "few"], 9).tolist() == [b"0.500000:1", b"0.250000:0", b"0.250000:2"]
    assert protocol.rank_classes(np.asarray([[3, 200]], np.uint8), [], 1).tolist() == [[b"200.000000:1"]]


def test_a_model_without_a_default_signature_shows_its_first() -> None:
    takes = Signature({"x": TensorSpec("float32", None)}, {})
    manifest = Manifest("m", 1, {"b": takes, "a": takes})
    assert protocol.find_shown_signature(manifest)[0] == "a"
    assert protocol.describe_model(manifest, [])["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1]}]
    assert protocol.find_signature(manifest, {"signature_name": "b"}, ["x"]) == "b"
    with pytest.raises(InvalidInput, match="several signatures"):
        protocol.find_signature(manifest, {}, ["x"])
