"""Where a network's features are: one rule over the graph, held against Keras's own layers."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.architectures import ARCHITECTURES
from export.convert import freeze, litert
from export.convert.litert import LiteModel
from export.data.dataset import Dataset, Split
from export.data.options import DataOptions
from export.errors import UsageError
from export.progress import Stage
from export.publish import image_index, openvino
from export.quantize.convert import Convertible
from export.quantize.schemes import SCHEMES, Scheme
from service.repository.image_index import ImageIndex
from service.repository.manifest import FEATURES, IMAGE_FEATURES, OPENVINO, TFLITE

LENET = ARCHITECTURES["lenet5"]
LABELS = ("a", "b", "c")
SIZE = 28
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)

layers = keras.layers


def body() -> tuple[Any, Any]:
    image = layers.Input(LENET.shape(SIZE))
    return image, layers.Conv2D(5, 3, strides=2, activation="relu")(image)


def dense() -> tuple[Any, Any]:
    image, maps = body()
    given = layers.GlobalAveragePooling2D()(maps)
    return keras.Model(image, layers.Dense(3, "softmax")(layers.Dropout(0.5)(given))), keras.Model(image, given)


def logits_at_a_temperature() -> tuple[Any, Any]:
    image, maps = body()
    given = layers.Dense(7, "tanh")(layers.Flatten()(maps))
    answer = layers.Softmax()(layers.Rescaling(0.5)(layers.Dense(3)(given)))
    return keras.Model(image, answer), keras.Model(image, given)


def convolution_of_averaged_maps() -> tuple[Any, Any]:
    """As MobileNet ends."""
    image, maps = body()
    given = layers.GlobalAveragePooling2D(keepdims=True)(maps)
    answer = layers.Softmax()(layers.Reshape((3,))(layers.Conv2D(3, 1)(given)))
    return keras.Model(image, answer), keras.Model(image, layers.Flatten()(given))


def averaged_maps_of_a_convolution() -> tuple[Any, Any]:
    """As SqueezeNet and NIN end."""
    image, maps = body()
    answer = layers.Softmax()(layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1, activation="relu")(maps)))
    return keras.Model(image, answer), keras.Model(image, layers.GlobalAveragePooling2D()(maps))


def two_heads() -> Any:
    image, maps = body()
    flat = layers.Flatten()(maps)
    return keras.Model(image, layers.Softmax()(layers.Add()([layers.Dense(3)(flat), layers.Dense(3)(flat)])))


def wide_convolution() -> Any:
    image, maps = body()
    return keras.Model(image, layers.Softmax()(layers.Flatten()(layers.Conv2D(3, maps.shape[1])(maps))))


def averaged_maps() -> Any:
    image, maps = body()
    return keras.Model(image, layers.Softmax()(layers.GlobalMaxPooling2D()(layers.Conv2D(3, 1)(maps))))


@pytest.mark.parametrize(
    "build", [dense, logits_at_a_temperature, convolution_of_averaged_maps, averaged_maps_of_a_convolution]
)
def test_features_are_what_the_classifier_is_given(build: Callable[[], tuple[Any, Any]], tmp_path: Path) -> None:
    model, given = build()
    assert freeze.write_saved_model(tmp_path, model, LENET, SIZE, LABELS) == ""
    litert.convert(tmp_path, tmp_path / TFLITE)
    tensor = IMAGES.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    wanted = given(tensor[..., np.newaxis] * 0.005 - 0.1, training=False).numpy()
    assert wanted.ndim == 2 and np.abs(wanted).max() > 0.01

    loaded = tf.saved_model.load(str(tmp_path))
    both = loaded.signatures[IMAGE_FEATURES](pixels=tf.constant(IMAGES))
    assert set(both) == {"features", "probabilities"}
    np.testing.assert_allclose(both["features"], wanted, atol=1e-5)
    png = tf.io.encode_png(IMAGES[0]).numpy()
    alone = loaded.signatures[FEATURES](image_bytes=tf.constant([png]))
    assert set(alone) == {"features"}
    np.testing.assert_allclose(alone["features"], wanted[:1], atol=1e-5)
    assert set(loaded.signatures["image"](image=tf.constant(IMAGES))) == {"probabilities"}, "as it ever was"

    lite = LiteModel((tmp_path / TFLITE).read_bytes(), threads=1)
    assert lite.find_width() == wanted.shape[1]
    outputs = lite.run("image", IMAGES)
    np.testing.assert_allclose(outputs["features"], wanted, atol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"], both["probabilities"], atol=1e-5)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (two_heads, "several branches meet behind its last layer"),
        (wide_convolution, "its last layer is a convolution of 13x13"),
        (averaged_maps, "its answers come from Max"),
    ],
)
def test_a_network_without_a_classifier_has_none_and_the_reason_is_told(
    build: Callable[[], Any], reason: str, tmp_path: Path
) -> None:
    told = freeze.write_saved_model(tmp_path, build(), LENET, SIZE, LABELS)
    assert told.startswith(reason), told
    assert set(tf.saved_model.load(str(tmp_path)).signatures) == {"serving_default", "image", "tensor"}
    litert.convert(tmp_path, tmp_path / TFLITE)
    assert LiteModel((tmp_path / TFLITE).read_bytes(), threads=1).find_width() is None


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_large_features_do_not_keep_openvino_from_a_version(tmp_path: Path) -> None:
    """Weights rounded to float16 move a feature by a share of it, a probability by next to nothing."""
    model, _ = dense()
    convolution, classifier = (layer for layer in model.layers if layer.weights)
    for layer, factor in ((convolution, 1e4), (classifier, 1e-4)):
        layer.set_weights([weights * factor for weights in layer.get_weights()])
    freeze.write_saved_model(tmp_path, model, LENET, SIZE, LABELS)
    litert.convert(tmp_path, tmp_path / TFLITE)
    stage = Stage("test", lambda text: None)
    openvino.write(tmp_path, IMAGES, stage)
    assert stage.result.startswith("largest difference")
    assert (tmp_path / OPENVINO).is_file()


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any]:
    """A float32 `model.tflite`, and a network of Keras that gives its features."""
    keras.utils.set_random_seed(0)
    folder, (model, given) = tmp_path_factory.mktemp("dense"), dense()
    freeze.write_saved_model(folder, model, LENET, SIZE, LABELS)
    litert.convert(folder, folder / TFLITE)
    return (folder / TFLITE).read_bytes(), given


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_every_quantized_form_answers_with_float_features(scheme: Scheme, converted: tuple[bytes, Any]) -> None:
    data, given = converted
    model = LiteModel(Convertible(data, IMAGES, LENET).under(scheme), threads=1)
    tensor = (IMAGES.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))[..., np.newaxis] * 0.005 - 0.1
    wanted = given(tensor, training=False).numpy()
    for outputs in (model.run("image", IMAGES), model.run("tensor", tensor)):
        assert outputs["features"].dtype == np.float32
        np.testing.assert_allclose(outputs["features"], wanted, atol=0.05 * np.abs(wanted).max())


def test_training_images_lie_beside_a_version(
    converted: tuple[bytes, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (60, SIZE, SIZE, 3), np.uint8)
    images *= np.linspace(0, 1, 60)[:, np.newaxis, np.newaxis, np.newaxis] > np.random.default_rng(2).random(
        images.shape
    )
    classes = np.arange(60, dtype=np.int32) // 20
    train, validation = Split(images[::2], classes[::2]), Split(images[1::2], classes[1::2])
    dataset = Dataset("d", LABELS, train, validation, validation, (), describe_row=lambda row: f"/home/me/b/{row}.jpg")
    lite, stage = LiteModel(converted[0], threads=1), Stage("test", lambda line: None)
    threshold = image_index.write(tmp_path, dataset, lite, 5, 10, stage)
    index = ImageIndex.read(tmp_path)
    assert index is not None and threshold is not None
    assert index.embeddings.shape == (10, 5) and index.names[:2] == ("b/0.jpg", "b/3.jpg")
    assert index.classes.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    (nearest,) = index.find_nearest(lite.run("image", train.images[3:4])["features"], 1)
    assert nearest[0].name == "b/3.jpg" and nearest[0].similarity == pytest.approx(1, abs=1e-5)

    monkeypatch.setattr(image_index, "MOST_BYTES", 8 * 5 * 4)
    threshold = image_index.write(tmp_path, dataset, lite, 5, 1000, stage)
    index = ImageIndex.read(tmp_path)
    assert index is not None and len(index.names) == 8, "what the bytes hold"
    few = Split(validation.images[:19], validation.classes[:19])
    assert image_index.write(tmp_path, replace(dataset, validation=few), lite, 5, 1000, stage) is None


@pytest.mark.parametrize("number", ["-1", "1000000"])
def test_a_number_of_index_images_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(UsageError, match="Invalid --index-images: expected a number from 0 to 100000, got"):
        DataOptions(index_images=int(number))


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted({row.family for row in ARCHITECTURES.values()}))
def test_every_family_has_features(family: str, tmp_path: Path) -> None:
    """The smallest of each: its relatives end in the same layers."""
    rows = [row for row in ARCHITECTURES.values() if row.family == family]
    row = min(rows, key=lambda each: each.parameters)
    size = max(row.smallest_size, 32)
    keras.backend.clear_session()
    assert freeze.write_saved_model(tmp_path, row.build(row.shape(size), 3), row, size, LABELS) == ""
    loaded = tf.saved_model.load(str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    answer = loaded.signatures[IMAGE_FEATURES](pixels=tf.constant(pixels))
    found = answer["features"].numpy()
    assert found.shape[0] == 2 and found.shape[1] > 1
    assert np.isfinite(found).all() and not np.array_equal(*found)
    assert loaded.signatures[FEATURES].structured_outputs["features"].shape[-1] == found.shape[1]
