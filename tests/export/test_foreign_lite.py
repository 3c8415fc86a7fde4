"""`--from FILE.tflite`: a file of somebody's own gets entries for images, and answers as it did."""

from pathlib import Path
from typing import Any

import httpx
import keras
import numpy as np
import pytest
import tensorflow as tf

from export.__main__ import main
from export.architectures.applications import CAFFE, RAW, TF, TORCH
from export.architectures.architecture import Architecture, Scaling
from export.convert.litert import LiteModel
from export.convert.signatures import IMAGE, PROBABILITIES, TENSOR
from export.data import pixels
from export.errors import ExportError
from export.foreign.lite import LiteNetwork, add_entries, inspect
from export.foreign.network import open_lite
from export.foreign.options import Foreign, parse_scaling
from export.quiet import silenced
from service.repository.manifest import SAMPLES, Manifest
from tests.support.service_process import running

SIZE, CLASSES = 24, 4
IMAGES = np.random.default_rng(5).integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)


def network(activation: str = "softmax", channels: int = 3, size: int | None = SIZE) -> Any:
    keras.utils.set_random_seed(3)
    image = keras.layers.Input((size, size, channels))
    x = keras.layers.Conv2D(8, 5, strides=3, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x) if size is None else keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(CLASSES, activation, kernel_initializer="he_normal")(x))


def convert(model: Any, kind: str = "any rows") -> bytes:
    """`one row` has a reshape to one row in it, and no signatures; `integers` takes and answers with uint8."""
    with silenced():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if kind == "one row":
            spec = tf.TensorSpec([1, SIZE, SIZE, model.inputs[0].shape[-1]], tf.float32)
            function = tf.function(lambda image: tf.reshape(model(image, training=False), [1, CLASSES]))
            function = function.get_concrete_function(spec)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        if kind in ("dynamic", "float16", "integers"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if kind == "integers":
            converter.representative_dataset = lambda: ([scale(row[np.newaxis], TF)] for row in IMAGES)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        return bytes(converter.convert())


def describe(scaling: Scaling, channels: int = 3) -> Architecture:
    return Architecture("mine", "", 0, lambda shape, classes: None, SIZE, 1, channels, scaling, None, 0, CLASSES, "")  # type: ignore[arg-type]


def scale(images: Any, scaling: Scaling, channels: int = 3) -> Any:
    return pixels.to_tensor(images, describe(scaling, channels)).numpy()


@pytest.mark.parametrize(
    ("kind", "precision", "tolerance"),
    [
        ("any rows", "float32", 1e-5),
        ("one row", "float32", 1e-5),
        ("float16", "float16", 1e-5),
        ("dynamic", "dynamic", 0.02),
        ("integers", "int8", 0.05),
    ],
)
def test_both_entries_answer_as_the_file_does(kind: str, precision: str, tolerance: float) -> None:
    data = convert(network(), kind)
    entry = inspect(data, "mine.tflite")
    assert (entry.size, entry.channels, entry.classes, entry.precision) == (SIZE, 3, CLASSES, precision)
    made = LiteModel(add_entries(data, describe(TF), SIZE, "mine.tflite", softmax=False), threads=1)
    tensor = scale(IMAGES, TF)
    wanted = LiteNetwork(data, entry)(tensor).numpy()
    np.testing.assert_allclose(wanted, network()(tensor), atol=0.05)
    for signature, rows in ((IMAGE, IMAGES), (TENSOR, tensor), (IMAGE, IMAGES[:1]), (TENSOR, tensor[:1])):
        answer = made.run(signature, rows)[PROBABILITIES]
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, wanted[: len(rows)], atol=tolerance)
    assert np.ptp(wanted, axis=0).max() > 0.05, "answers depend on the image"


@pytest.mark.parametrize(("scaling", "channels"), [(TORCH, 3), (CAFFE, 3), (RAW, 3), (parse_scaling("0.00392,0"), 1)])
def test_pixels_are_scaled_as_is_said(scaling: Scaling, channels: int) -> None:
    model = network(channels=channels)
    row = describe(scaling, channels)
    made = LiteModel(add_entries(convert(model), row, SIZE, "mine.tflite", softmax=False), threads=1)
    wanted = model(scale(IMAGES, scaling, channels))
    np.testing.assert_allclose(made.run(IMAGE, IMAGES)[PROBABILITIES], wanted, atol=2e-5)


@pytest.mark.parametrize("kind", ["any rows", "integers"])
def test_logits_become_probabilities(kind: str) -> None:
    model = network("linear")
    data = convert(model, kind)
    made = LiteModel(add_entries(data, describe(TF), SIZE, "mine.tflite", softmax=True), threads=1)
    wanted = LiteNetwork(data, inspect(data, "mine.tflite"), softmax=True)(scale(IMAGES, TF)).numpy()
    found = made.run(IMAGE, IMAGES)[PROBABILITIES]
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(found, wanted, atol=1e-5 if kind == "any rows" else 0.05)


def test_a_file_for_images_of_any_size_needs_one(tmp_path: Path) -> None:
    (tmp_path / "mine.tflite").write_bytes(convert(network(size=None)))
    foreign = Foreign(tmp_path / "mine.tflite", TF)
    with pytest.raises(ExportError, match="give --image-size"):
        open_lite(foreign, None)
    assert open_lite(foreign, 40).size == 40


@pytest.mark.parametrize("content", [b"", b"no model at all, but some text", bytes(64)])
def test_what_is_no_tflite_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.tflite").write_bytes(content)
    with pytest.raises(ExportError, match="is not a readable") as refused:
        open_lite(Foreign(tmp_path / "mine.tflite", TF), None)
    assert "\n" not in str(refused.value)


def test_what_classifies_no_images_is_refused(tmp_path: Path) -> None:
    image = keras.layers.Input((6,))
    table = convert(keras.Model(image, keras.layers.Dense(3)(image)))
    with pytest.raises(ExportError, match=r"takes shape \[-1, 6\], and images are"):
        inspect(table, "mine.tflite")
    with pytest.raises(ExportError, match=r"answers an image with shape \[1\]"):
        image = keras.layers.Input((SIZE, SIZE, 3))
        inspect(convert(keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(image)))), "mine.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one row", "integers"])
def test_it_is_published_and_answers_about_a_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = network("linear")
    (tmp_path / "mine.tflite").write_bytes(convert(model, kind))
    (tmp_path / "labels.txt").write_text("".join(f"class {number}\n" for number in range(CLASSES)))
    asked = ["--from", str(tmp_path / "mine.tflite"), "--preprocessing", "tf", "--labels", str(tmp_path / "labels.txt")]
    monkeypatch.setattr("sys.argv", ["export", *asked, "--repository", str(tmp_path / "models")])
    assert main() == 0, capsys.readouterr().err
    version = tmp_path / "models" / "mine" / "1"
    made = Manifest.read(version, "mine", 1)
    assert made is not None and not (version / "saved_model.pb").exists()
    assert made.precision == ("int8" if kind == "integers" else "float32")
    assert made.labels == tuple(f"class {number}" for number in range(CLASSES))
    sample = min((version / SAMPLES).iterdir())
    image = pixels.decode(sample.read_bytes(), SIZE).numpy()
    wanted = tf.nn.softmax(model(scale(image[np.newaxis], TF)))[0].numpy()
    with running("--repository", tmp_path / "models", "--no-foreign-models") as service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, timeout=30) as client:
            reply = client.post("/predict/mine?top_k=4", content=sample.read_bytes())
            files = [("image", sample.read_bytes())] * 3
            several = client.post("/predict/mine", files=files)
    assert reply.status_code == 200, reply.text
    top = {each["label"]: each["probability"] for each in reply.json()["predictions"][0]["top_k"]}
    found = [top[label] for label in made.labels]
    np.testing.assert_allclose(found, wanted, atol=0.1 if kind == "integers" else 0.02)
    assert len(several.json()["predictions"]) == 3, several.text
