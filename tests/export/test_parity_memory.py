"""Memory while a network is frozen, read back and asked: few copies of its weights, and few of its layers' maps."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.architectures.applications import RAW
from export.convert import freeze, litert
from export.data.dataset import Dataset, Example, Split
from export.foreign import network as foreign
from export.verify import parity
from export.verify.readback import Readback
from service.repository.manifest import TFLITE

WIDTH = 18_000
"""Of a dense layer with 56 MB of weights: small ones would be lost among everything else."""

LAYERS, SIDE, CHANNELS = 24, 224, 8
MAPS_MB = 8 * SIDE**2 * CHANNELS * 4 / 2**20
"""Of one layer, for the 8 images that are asked about at once."""


def compute(model: keras.Model, images: Any) -> None:
    assert parity.compute_probabilities(model, images).shape == (8, CHANNELS)


def settle(model: keras.Model, images: Any) -> None:
    """What a network of somebody's own is asked first, if it answers with probabilities."""
    split = Split(images, np.zeros(len(images), np.int32))
    example = Example(b"", "a", "a.png")
    dataset = Dataset("images", ("a",), split, split, split, (example,) * len(images))
    row = replace(ARCHITECTURES["lenet5"], channels=CHANNELS, scaling=RAW)
    settled, added = foreign.settle_answers(model, row, dataset)
    assert settled is not model and "softmax is added" in added


@pytest.mark.alone
@pytest.mark.parametrize("ask", [compute, settle])
def test_maps_of_a_deep_network_are_let_go_layer_by_layer(ask: Callable[[keras.Model, Any], None]) -> None:
    given = keras.Input((SIDE, SIDE, CHANNELS))
    tensor = given
    for _ in range(LAYERS):
        tensor = keras.layers.DepthwiseConv2D(1)(tensor)
    model = keras.Model(given, keras.layers.GlobalAveragePooling2D()(tensor))
    images = np.ones((8, SIDE, SIDE, CHANNELS), np.float32)
    before = restart_peak()
    ask(model, images)
    assert read_peak() - before < LAYERS / 2 * MAPS_MB


@pytest.mark.alone  # what other tests have left running in the process takes memory meanwhile
def test_weights_are_copied_a_few_times_only(tmp_path: Path) -> None:
    """Turned into constants by TensorFlow they take 13 times their memory, and loaded by it 30 times."""
    row = replace(ARCHITECTURES["lenet5"], name="wide")
    given = keras.Input((28, 28, 1))
    dense = keras.layers.Dense(WIDTH)(keras.layers.Flatten()(given))
    model = keras.Model(given, keras.layers.Dense(2, activation="softmax")(dense))
    weights_mb = model.count_params() * 4 / 2**20
    before = restart_peak()
    freeze.write_saved_model(tmp_path, model, row, 28, ("a", "b"))
    assert read_peak() - before < 5 * weights_mb
    before = restart_peak()
    litert.convert(tmp_path, tmp_path / TFLITE)
    assert read_peak() - before < 8 * weights_mb  # with the libraries that it loads
    images = np.ones((2, 28, 28, 3), np.uint8)
    before = restart_peak()
    staged = Readback(tmp_path)
    answers = [staged.saved_model(signature, images)["probabilities"] for signature in ("image", "image_features")]
    assert read_peak() - before < 6 * weights_mb
    np.testing.assert_array_equal(*answers)


def restart_peak() -> float:
    """Megabytes that this process has resident, from which on its peak is counted."""
    Path("/proc/self/clear_refs").write_text("5")
    return read_peak()


def read_peak() -> float:
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kibibytes) / 1024
