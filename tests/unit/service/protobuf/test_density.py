"""What of a serialized message counts, and that little of a hostile one is read before it is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from service.errors import InvalidInput
from service.protobuf.density import check_density
from service.protobuf.stubs import classification_pb2, inference_pb2, oip_pb2, predict_pb2

_PREDICT = predict_pb2.PredictRequest
_INFER = oip_pb2.ModelInferRequest
_TASKS = inference_pb2.MultiInferenceRequest
_MIB = 2**20


def _tensor(**values: object) -> bytes:
    request = _PREDICT()
    for field, content in values.items():
        getattr(request.inputs["x"], field).extend(content)
    return bytes(request.SerializeToString())


def _examples(count: int) -> bytes:
    request = classification_pb2.ClassificationRequest()
    for _ in range(count):
        example = request.input.example_list.examples.add()
        for feature in range(10):
            example.features.feature[f"feature {feature}"].float_list.value.append(feature)
    return bytes(request.SerializeToString())


HONEST: dict[str, tuple[Any, Callable[[], bytes]]] = {
    "an image": (_PREDICT, lambda: _tensor(string_val=[b"\x0a\x00" * 10 * _MIB])),
    "floats": (_PREDICT, lambda: _tensor(float_val=[0.5] * 4 * _MIB)),
    "pixels of 32 images, one by one": (_PREDICT, lambda: _tensor(int_val=range(256)) * (32 * 224 * 224 * 3 // 256)),
    "raw tensors": (_INFER, lambda: _INFER(raw_input_contents=[b"\x0a\x00" * 8 * _MIB] * 2).SerializeToString()),
    "1,024 rows of ten features": (classification_pb2.ClassificationRequest, lambda: _examples(1024)),
    "nothing": (_PREDICT, lambda: b""),
    "as many fields as are free": (_TASKS, lambda: b"\x0a\x00" * 2**17),
}


@pytest.mark.parametrize("message", HONEST)
def test_honest_messages_pass(message: str) -> None:
    kind, make = HONEST[message]
    data = make()
    kind.FromString(data)
    check_density(data, kind.DESCRIPTOR)


_TWICE = 2**18
HOSTILE: dict[str, tuple[Any, Callable[[], bytes]]] = {
    "tasks": (_TASKS, lambda: b"\x0a\x00" * _TWICE),
    "inputs": (_INFER, lambda: b"\x2a\x00" * _TWICE),
    "texts in a tensor": (_PREDICT, lambda: _tensor(string_val=[b""] * _TWICE)),
    "examples": (classification_pb2.ClassificationRequest, lambda: _examples(20_000)),
    "unknown fields": (_PREDICT, lambda: b"\x78\x01" * _TWICE),
    "unknown groups": (_PREDICT, lambda: b"\x7b\x7c" * _TWICE),
    "tags of two bytes": (_PREDICT, lambda: b"\x82\x10\x00" * _TWICE),
    "lengths of two bytes": (_TASKS, lambda: b"\x0a\x80\x00" * _TWICE),
    "integers one by one": (_PREDICT, lambda: _tensor(int64_val=[1] * (2**23 + 1))),
    "integers, in pieces": (_PREDICT, lambda: _tensor(int64_val=[1] * 2**22) * 3),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_messages_dense_with_fields_are_refused(message: str) -> None:
    kind, make = HOSTILE[message]
    data = make()
    kind.FromString(data)
    with pytest.raises(InvalidInput, match=r"the message has more than [\d,]+ (fields|integers)"):
        check_density(data, kind.DESCRIPTOR)


def test_what_comes_after_the_dense_part_buys_it_nothing() -> None:
    data = b"\x0a\x00" * _TWICE
    padding = b"\x7a\x80\x80\x80\x08" + bytes(16 * _MIB)
    with pytest.raises(InvalidInput, match=r"in its first 279,\d+ bytes"):
        check_density(data + padding, _TASKS.DESCRIPTOR)


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x80", b"\xff" * _MIB, b"\x08" + b"\xff" * _MIB, b"\x0a\xff\xff\xff\xff\x0f", b"\x0f" * 9]
)
def test_malformed_messages_are_left_to_the_parser(data: bytes) -> None:
    check_density(data, _TASKS.DESCRIPTOR)
    with pytest.raises(Exception, match="Error parsing message"):
        _TASKS.FromString(data)
