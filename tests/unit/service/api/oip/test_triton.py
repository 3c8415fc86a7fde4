"""Configurations of models of every shape: each is one of Triton's messages too."""

import pytest
from google.protobuf import json_format

from service.api.oip.triton import describe_config
from service.protobuf.stubs import oip_pb2
from service.repository.manifest import Manifest, Signature, TensorSpec

ROWS = TensorSpec("float32", (None, 3))


@pytest.mark.parametrize(
    ("spec", "data_type", "dims", "rows"),
    [
        (ROWS, "TYPE_FP32", [3], 64),
        (TensorSpec("uint8", (None, None, None, 3)), "TYPE_UINT8", [-1, -1, 3], 64),
        (TensorSpec("string", (None,)), "TYPE_STRING", [1], 64),
        (TensorSpec("float32", None), "TYPE_FP32", [-1], 0),
        (TensorSpec("int64", ()), "TYPE_INT64", [], 0),
        (TensorSpec("float32", (2, 3)), "TYPE_FP32", [2, 3], 0),
        (TensorSpec("DT_BFLOAT16", (None, 3)), "TYPE_BF16", [3], 64),
        (TensorSpec("DT_COMPLEX64", (None, 3)), "TYPE_INVALID", [3], 64),
    ],
    ids=str,
)
def test_an_input_of_every_shape(spec: TensorSpec, data_type: str, dims: list[int], rows: int) -> None:
    manifest = Manifest("m", 7, {"serving_default": Signature({"x": spec}, {"y": ROWS})})
    config = describe_config(manifest, max_rows=64)
    (x,) = config["input"]
    assert (x["data_type"], x["dims"], config["max_batch_size"]) == (data_type, dims, rows)
    assert ("reshape" in x) == (spec.shape == (None,))
    message = json_format.ParseDict({"config": config}, oip_pb2.ModelConfigResponse())
    assert list(message.config.input[0].dims) == dims


def test_rows_past_what_triton_can_say() -> None:
    manifest = Manifest("m", 7, {"serving_default": Signature({"x": ROWS}, {"y": ROWS})})
    assert describe_config(manifest, max_rows=2**40)["max_batch_size"] == 2**31 - 1
