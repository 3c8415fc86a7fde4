"""`--target gpu`: SavedModels in half precision. No GPU is needed to make them, only to time them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import pipeline
from export.__main__ import parse
from export.errors import ExportError
from export.progress import Progress
from export.quantize import half_precision as half
from export.quantize import select_saved_model as saved_model
from service.repository.manifest import GOLDEN, SAVED_MODEL, Manifest

pytestmark = pytest.mark.slow

HAS_GPU = bool(tf.config.list_physical_devices("GPU"))


def graph(folder: Path) -> Any:
    document = saved_model_pb2.SavedModel()
    document.ParseFromString((folder / SAVED_MODEL).read_bytes())
    return document.meta_graphs[0].graph_def


def probabilities(folder: Path, images: Any) -> Any:
    model = tf.saved_model.load(str(folder))
    return model.signatures["image"](image=tf.constant(images))["probabilities"].numpy()


@pytest.fixture(scope="module", params=["lenet5", "mobilenet_v3_small"])
def float32(request: pytest.FixtureRequest, demo_repository: Path) -> Path:
    return demo_repository / str(request.param) / "1"


@pytest.mark.parametrize(("precision", "apart"), [("float16", 0.01), ("bfloat16", 0.1)])
def test_the_network_computes_in_half_precision_and_answers_alike(
    float32: Path, tmp_path: Path, precision: str, apart: float
) -> None:
    half.write(float32, tmp_path, precision)
    weights = Counter[str]()
    for node in graph(tmp_path).node:
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            weights[tf.dtypes.as_dtype(tensor.dtype).name] += tf.TensorShape(tensor.tensor_shape).num_elements()
        if node.op in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            assert tf.dtypes.as_dtype(node.attr["T"].type).name == precision
    assert weights[precision] > 50 * weights["float32"]
    assert (tmp_path / SAVED_MODEL).stat().st_size < 0.6 * (float32 / SAVED_MODEL).stat().st_size
    with np.load(float32 / GOLDEN) as golden:
        given = probabilities(tmp_path, golden["images"])
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, golden["probabilities"], atol=apart)
        both = (tf.saved_model.load(str(folder)).signatures["image_features"] for folder in (tmp_path, float32))
        halved, wanted = (each(pixels=tf.constant(golden["images"]))["features"].numpy() for each in both)
    assert halved.dtype == np.float32
    np.testing.assert_allclose(halved, wanted, atol=10 * apart * np.abs(wanted).max())


def test_a_half_precision_version_is_published_as_asked(tmp_path: Path) -> None:
    specs = parse(
        [
            "--model",
            "lenet5",
            "--epochs",
            "5",
            "--target",
            "gpu",
            "--quantize",
            "float16",
            "--repository",
            str(tmp_path),
        ]
    )
    assert specs is not None
    done = pipeline.export(specs[0], Progress())
    made = Manifest.read(done.folder, "lenet5", 1)
    assert made is not None and made.precision == "float16"
    asked = made.facts["quantization"]
    assert (asked["target"], [row["name"] for row in asked["candidates"]][:2]) == ("gpu", ["float32", "float16"])
    assert any(node.op == "Cast" and node.name.endswith("/half") for node in graph(done.folder).node)


@pytest.mark.skipif(HAS_GPU, reason="here is a GPU to measure on")
def test_without_a_gpu_auto_says_what_to_ask_for_before_it_trains(tmp_path: Path) -> None:
    specs = parse(["--model", "lenet5", "--target", "gpu", "--quantize", "--repository", str(tmp_path)])
    assert specs is not None
    with pytest.raises(ExportError, match="ask for --quantize float16 or bfloat16"):
        pipeline.export(specs[0], Progress())


@pytest.mark.parametrize("xla", [False, True])
def test_timing_times_every_batch_size(float32: Path, xla: bool) -> None:
    taken = saved_model.milliseconds(float32, xla)
    assert list(taken) == [1, 8, 32]
    assert all(0 < value < 1000 for value in taken.values())


def test_timing_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be timed"):
        saved_model.milliseconds(tmp_path, xla=False)
