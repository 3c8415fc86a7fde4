"""Protobuf messages without the TensorFlow runtime, and a real TensorFlow after them."""

import subprocess
import sys

import pytest


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_stubs_do_not_import_tensorflow() -> None:
    loaded = python(
        "import sys; from service.protobuf import stubs; "
        "print('tensorflow' in sys.modules, 'tensorflow.python' in sys.modules)"
    )
    assert loaded == "False False"


@pytest.mark.slow
def test_a_later_tensorflow_is_whole_and_shares_the_messages() -> None:
    shared = python(
        "from service.protobuf.stubs import tensor_pb2; import tensorflow as tf; "
        "print(isinstance(tf.make_tensor_proto([1.0]), tensor_pb2.TensorProto), int(tf.constant(1) + 1))"
    )
    assert shared == "True 2"


@pytest.mark.slow
def test_stubs_after_tensorflow_leave_it_alone() -> None:
    then = "from service.protobuf import stubs; import tensorflow; print(tensorflow is tf)"
    kept = python(f"import tensorflow as tf; {then}")
    assert kept == "True"


def test_a_later_tritonclient_is_whole_and_shares_the_messages() -> None:
    shared = python(
        "import sys; from service.protobuf.stubs import oip_pb2; print('tritonclient' in sys.modules); "
        "import tritonclient.grpc, tritonclient.http; from tritonclient.grpc import service_pb2; "
        "print(service_pb2 is oip_pb2, tritonclient.grpc.InferInput('x', [1], 'FP32').shape())"
    )
    assert shared.split("\n") == ["False", "True [1]"]
