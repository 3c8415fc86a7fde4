"""TensorProto both ways, held against TensorFlow's own conversion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.errors import InvalidInput
from service.protobuf import tensors as codec
from service.protobuf.stubs import tensor_pb2, types_pb2
from service.types import strings

NAMES = [
    "float32",
    "float64",
    "float16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]


@given(
    st.sampled_from(NAMES).flatmap(lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
)
def test_arrays_survive_both_encodings(array: np.ndarray) -> None:
    codec.fill_request(request := tensor_pb2.TensorProto(), array)
    for proto in (codec.to_proto(array), request):
        back = codec.to_array("x", tensor_pb2.TensorProto.FromString(proto.SerializeToString()))
        assert back.dtype == array.dtype and back.shape == array.shape
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("name", NAMES)
def test_tensorflow_reads_ours_and_we_read_tensorflows(name: str) -> None:
    import tensorflow as tf

    array = np.asarray([[0, 1], [2, 3]]).astype(name)
    np.testing.assert_array_equal(tf.make_ndarray(codec.to_proto(array)), array)
    np.testing.assert_array_equal(codec.to_array("x", tf.make_tensor_proto(array)), array)


def test_replies_use_the_typed_fields() -> None:
    assert list(codec.to_proto(np.asarray([1.5, 2.5], np.float32)).float_val) == [1.5, 2.5]
    assert list(codec.to_proto(np.asarray([1, 2], np.uint8)).int_val) == [1, 2]
    assert list(codec.to_proto(strings([b"a", b"b"])).string_val) == [b"a", b"b"]


@pytest.mark.parametrize("name", ["int8", "int16", "uint8", "uint16"])
def test_what_does_not_fit_wraps_as_in_tensorflow(name: str) -> None:
    """perf_analyzer writes the bytes of random pixels as signed numbers."""
    values = [-1, -128, 127, 255, 256, 300, 65_535, 65_536, 2**31 - 1, -(2**31)]
    proto = tensor_pb2.TensorProto(dtype=codec.dtype_number(name), int_val=values)
    proto.tensor_shape.dim.add(size=len(values))
    expected = [value % 2 ** (8 * np.dtype(name).itemsize) for value in values]
    assert codec.to_array("x", proto).tolist() == np.array(expected, np.uint64).astype(name).tolist()


def test_fewer_values_repeat_the_last() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[2])
    proto.tensor_shape.dim.add(size=3)
    assert codec.to_array("x", proto).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        (tensor_pb2.TensorProto(dtype=types_pb2.DT_COMPLEX64), "DT_COMPLEX64 is not supported"),
        (tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1, 2]), "holds 1 values, got 2"),
        (tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123"), "needs 4 bytes"),
        (tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"123"), "string_val"),
        (tensor_pb2.TensorProto(dtype=999), "not supported"),
    ],
)
def test_bad_protos_say_what_is_wrong(proto: codec.TensorProto, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        codec.to_array("x", proto)


@pytest.mark.parametrize("shape", [[2**20] * 4, [2**24], [0, 2**62], [2**62, 2**62, 0], [1] * 65])
@pytest.mark.parametrize("content", [False, True])
def test_hostile_shapes_are_refused(shape: list[int], content: bool) -> None:
    values = {"tensor_content": b"\0\0\0\0"} if content else {"float_val": [1]}
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    with pytest.raises(InvalidInput):
        codec.to_array("x", proto)


def test_one_value_for_many_takes_no_memory() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_INT64, int64_val=[7])
    proto.tensor_shape.dim.add(size=2**20)
    array = codec.to_array("x", proto)
    assert array.shape == (2**20,) and array.strides == (0,) and array[-1] == 7
