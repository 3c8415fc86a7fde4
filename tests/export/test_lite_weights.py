"""Weights that LiteRT's converter does not see: the file is the one that it writes when it sees them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.convert import freeze, lite_weights, litert
from export.convert.signatures import IMAGE, TENSOR

SIDE, CLASSES = 16, 3


def build(*layers: Any) -> Any:
    given = keras.Input((SIDE, SIDE, 3))
    tensor = given
    for layer in layers:
        tensor = layer(tensor)
    tensor = keras.layers.GlobalAveragePooling2D()(tensor)
    return keras.Model(given, keras.layers.Dense(CLASSES, activation="softmax")(tensor))


@pytest.mark.parametrize(
    ("layers", "left_out"),
    [
        (
            [
                keras.layers.Conv2D(32, 1),
                keras.layers.Conv2D(32, 3),
                keras.layers.BatchNormalization(),
                keras.layers.Conv2D(64, 3, dilation_rate=2),
                keras.layers.DepthwiseConv2D(5),
                keras.layers.Dense(64),
                keras.layers.Dense(64),
            ],
            5,
        ),
        ([keras.layers.Conv2D(32, 1), keras.layers.Conv2D(32, 3, groups=4), keras.layers.Conv2D(64, 3)], 1),
    ],
    ids=["every kind of weight", "one that the converter cuts to pieces"],
)
def test_a_file_is_the_same_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: list[Any], left_out: int
) -> None:
    row = replace(ARCHITECTURES["mobilenet_v2"], name="own")
    freeze.write_saved_model(tmp_path, build(*layers), row, SIDE, ("a", "b", "c"))
    put_back, counts = lite_weights.put_back, []

    def count(file: Path, saved_model: Path, weights: Any) -> frozenset[str]:
        counts.append(len(weights))
        return put_back(file, saved_model, weights)

    monkeypatch.setattr(lite_weights, "put_back", count)
    files = []
    for large in (4_096, 2**40):
        monkeypatch.setattr(lite_weights, "LARGE", large)
        litert.convert(tmp_path, tmp_path / f"{large}.tflite", (IMAGE, TENSOR))
        files.append(np.fromfile(tmp_path / f"{large}.tflite", np.uint8))
    assert counts[-2:] == [left_out, 0]
    np.testing.assert_array_equal(files[0], files[1])
