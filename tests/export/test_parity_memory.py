"""What is staged is held against a network that keeps no more of its layers' maps than the next layer needs."""

import re
from pathlib import Path

import keras
import numpy as np

from export.verify import parity

LAYERS, SIDE, CHANNELS = 24, 224, 8
MAPS_MB = 8 * SIDE**2 * CHANNELS * 4 / 2**20
"""Of one layer, for the 8 images that are asked about at once."""


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


def restart_peak() -> float:
    """Megabytes that this process has resident, from which on its peak is counted."""
    Path("/proc/self/clear_refs").write_text("5")
    return read_peak()


def read_peak() -> float:
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kibibytes) / 1024
