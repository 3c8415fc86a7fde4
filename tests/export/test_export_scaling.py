"""Pixels reach every network as Keras itself would feed it."""

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.architectures.applications import Builder
from export.architectures.architecture import Architecture
from export.data.pixels import to_tensor
from export.training import weights

pytestmark = pytest.mark.slow

ROWS = [row for row in ARCHITECTURES.values() if isinstance(row.build, Builder)]
IMAGENET_MEAN, IMAGENET_DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def pixels(size: int = 8) -> Any:
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)


def builder(row: Architecture) -> Builder:
    assert isinstance(row.build, Builder)
    return row.build


def of_keras(row: Architecture, size: int, **options: Any) -> Any:
    return getattr(keras.applications, builder(row).name)(
        input_shape=row.shape(size), classes=5, weights=None, **options
    )


@pytest.mark.parametrize("row", [row for row in ROWS if not builder(row).bare], ids=lambda row: row.name)
def test_tensor_is_what_keras_preprocess_input_makes(row: Architecture) -> None:
    module: Any = inspect.getmodule(getattr(keras.applications, builder(row).name))
    wanted = module.preprocess_input(pixels().astype(np.float32))
    np.testing.assert_allclose(to_tensor(pixels(), row), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", [row for row in ROWS if builder(row).bare], ids=lambda row: row.name)
def test_tensor_is_what_the_layers_left_out_of_the_graph_make(row: Architecture) -> None:
    wanted = pixels().astype(np.float32)
    with keras.StatelessScope(initialize_variables=False):
        model = of_keras(row, row.smallest_size, include_preprocessing=True)
        first = next(index for index, layer in enumerate(model.layers) if layer.weights)
        left_out = [each for each in model.layers[1:first] if "Padding" not in type(each).__name__]
        assert left_out
        for layer in left_out:
            wanted = np.array(layer(wanted))
    np.testing.assert_allclose(to_tensor(pixels(), row), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_v2_b0", "efficientnet_v2_s"])
def test_a_network_without_its_preprocessing_is_the_same_network(name: str) -> None:
    row = ARCHITECTURES[name]
    ours = row.build(row.shape(32), 5)
    theirs = of_keras(row, 32, include_preprocessing=True)
    theirs.set_weights(ours.get_weights())
    wanted = theirs(pixels(32).astype(np.float32), training=False)
    np.testing.assert_allclose(ours(to_tensor(pixels(32), row), training=False), wanted, atol=1e-6)


def test_convnext_convolves_in_groups_of_one_channel() -> None:
    row, generator = ARCHITECTURES["convnext_tiny"], np.random.default_rng(0)
    with keras.StatelessScope(initialize_variables=False):
        model = row.build(row.shape(32), 5)
    grouped = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1]
    assert len(grouped) == 18
    image, kernel = (generator.normal(size=(*shape, 96)).astype(np.float32) for shape in ((2, 9, 8), (7, 7, 1)))
    convolved = grouped[0].convolution_op(image, kernel)
    for channel in (0, 1, 95):
        one = slice(channel, channel + 1)
        wanted = keras.ops.conv(image[..., one], kernel[..., one], padding="same")
        np.testing.assert_allclose(convolved[..., one], wanted, atol=1e-4)


def test_bgr_is_the_order_of_the_numbers_too() -> None:
    red = np.array([[[[255, 0, 0]]]], np.uint8)
    np.testing.assert_allclose(to_tensor(red, ARCHITECTURES["vgg16"]), [[[[-103.939, -116.779, 255 - 123.68]]]])


def test_lenet_takes_lecuns_levels() -> None:
    row, white = ARCHITECTURES["lenet5"], np.full((1, 2, 2, 3), 255, np.uint8)
    np.testing.assert_allclose(to_tensor(white, row), np.full((1, 2, 2, 1), 1.175), atol=1e-6)
    np.testing.assert_allclose(to_tensor(white * 0, row), np.full((1, 2, 2, 1), -0.1), atol=1e-6)


def stem(model: Any, image: Any) -> Any:
    """What the first convolution makes of an image; further on, random weights tell little apart."""
    return keras.Model(model.input, model.get_layer("stem_conv").output)(image, training=False)


def test_efficientnet_with_imagenet_weights_is_what_keras_makes_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras' own ImageNet graph, its download replaced by a file of random weights with ImageNet's statistics."""
    row, file = ARCHITECTURES["efficientnet_b0"], tmp_path / "b0.weights.h5"
    source = row.build(row.shape(224), 1000)
    norm = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([IMAGENET_MEAN, IMAGENET_DEVIATION, np.array(0)])
    source.save_weights(file)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(file))
    theirs = keras.applications.EfficientNetB0(weights="imagenet")
    wanted = stem(theirs, pixels(224).astype(np.float32))
    theirs.save(tmp_path / "mine.keras")
    theirs.save_weights(tmp_path / "mine.weights.h5")
    for given in ("imagenet", str(tmp_path / "mine.keras"), str(tmp_path / "mine.weights.h5")):
        start = weights.start(row, 224, 1000, given)
        ours = start.model
        assert start.known == tuple(layer for layer in ours.layers if layer.weights)
        np.testing.assert_allclose(stem(ours, to_tensor(pixels(224), row)), wanted, atol=1e-4)


def test_efficientnet_with_weights_of_its_own_statistics_keeps_them(tmp_path: Path) -> None:
    row, file = ARCHITECTURES["efficientnet_b0"], tmp_path / "b0.keras"
    theirs = of_keras(row, 32)
    norm = next(layer for layer in theirs.layers if isinstance(layer, keras.layers.Normalization))
    norm.adapt(np.random.default_rng(0).uniform(0, 0.5, (8, 4, 4, 3)).astype(np.float32))
    theirs.save(file)
    ours = weights.start(row, 32, 5, str(file)).model
    wanted = stem(theirs, pixels(32).astype(np.float32))
    np.testing.assert_allclose(stem(ours, to_tensor(pixels(32), row)), wanted, rtol=1e-4, atol=1e-4)
