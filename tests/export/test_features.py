"""Where a network's features are: one rule over the graph, held against Keras's own layers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.architectures import ARCHITECTURES
from export.convert import freeze, litert
from export.convert.features import FEATURES
from export.convert.litert import LiteModel
from export.quantize.convert import Convertible
from export.quantize.schemes import SCHEMES
from service.repository.manifest import IMAGE_FEATURES, TFLITE

LENET = ARCHITECTURES["lenet5"]
LABELS = ("a", "b", "c")
SIZE = 28
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)

INT8 = next(scheme for scheme in SCHEMES if scheme.name == "int8")

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


def test_a_file_of_8_bits_answers_with_float_features(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model, given = dense()
    freeze.write_saved_model(tmp_path, model, LENET, SIZE, LABELS)
    litert.convert(tmp_path, tmp_path / TFLITE)
    quantized = Convertible((tmp_path / TFLITE).read_bytes(), IMAGES, LENET).under(INT8)
    outputs = LiteModel(quantized, threads=1).run("image", IMAGES)
    tensor = IMAGES.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    wanted = given(tensor[..., np.newaxis] * 0.005 - 0.1, training=False).numpy()
    assert outputs["features"].dtype == np.float32
    np.testing.assert_allclose(outputs["features"], wanted, atol=0.05 * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted({row.family for row in ARCHITECTURES.values()}))
def test_every_family_has_features(family: str, tmp_path: Path) -> None:
    """The smallest of each: its relatives end in the same layers."""
    rows = [row for row in ARCHITECTURES.values() if row.family == family]
    row = min(rows, key=lambda each: each.parameters)
    size = max(row.smallest_size, 32)
    keras.backend.clear_session()
    assert freeze.write_saved_model(tmp_path, row.build(row.shape(size), 3), row, size, LABELS) == ""
    (width,) = re.findall(r"\d+", str(tf.saved_model.load(str(tmp_path)).signatures[FEATURES].structured_outputs))[:1]
    assert int(width) > 1
