"""What is staged is held against a network that keeps no more of its layers' maps than the next layer needs."""

import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.convert import freeze, litert
from export.convert.signatures import IMAGE, TENSOR
from export.memory import release_memory
from export.verify import parity
from export.verify.readback import Readback
from service.repository.manifest import IMAGE_FEATURES, TFLITE

LAYERS, SIDE, CHANNELS = 24, 224, 8
MAPS_MB = 8 * SIDE**2 * CHANNELS * 4 / 2**20
"""Of one layer, for the 8 images that are asked about at once."""

WIDE = 3072
WEIGHTS_MB = 28**2 * 3 * WIDE * 4 / 2**20


def test_maps_of_a_deep_network_are_let_go_layer_by_layer() -> None:
    given = keras.Input((SIDE, SIDE, CHANNELS))
    tensor = given
    for _ in range(LAYERS):
        tensor = keras.layers.DepthwiseConv2D(1)(tensor)
    model = keras.Model(given, keras.layers.GlobalAveragePooling2D()(tensor))
    images = np.ones((8, SIDE, SIDE, CHANNELS), np.float32)
    before = restart_peak()
    answers = parity.compute_probabilities(model, images)
    assert read_peak() - before < LAYERS / 2 * MAPS_MB
    assert answers.shape == (8, CHANNELS)


@pytest.mark.slow
def test_signatures_are_asked_one_after_another_with_one_set_of_weights(tmp_path: Path) -> None:
    """A session copies the weights 14 times at most; functions of all signatures did so 37 times."""
    row = replace(ARCHITECTURES["lenet5"], channels=3)
    given = keras.Input((28, 28, 3))
    tensor = keras.layers.Dense(WIDE, "relu")(keras.layers.Flatten()(given))
    model = keras.Model(given, keras.layers.Dense(2, "softmax")(tensor))
    freeze.write_saved_model(tmp_path, model, row, 28, ("a", "b"))
    litert.convert(tmp_path, tmp_path / TFLITE)
    rows = np.ones((2, 28, 28, 3), np.uint8)
    release_memory()
    before = restart_peak()
    staged = Readback(tmp_path)
    for signature in (IMAGE, IMAGE_FEATURES, TENSOR):
        answer = staged.saved_model(signature, rows if signature != TENSOR else rows.astype(np.float32))
        assert answer["probabilities"].shape == (2, 2)
    assert read_peak() - before < 24 * WEIGHTS_MB


def restart_peak() -> float:
    """Megabytes that this process has resident, from which on its peak is counted."""
    Path("/proc/self/clear_refs").write_text("5")
    return read_peak()


def read_peak() -> float:
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kibibytes) / 1024
