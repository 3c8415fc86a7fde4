"""OpenVINO's int8 form for a version that has none: quantized as the exporter does, on the golden images."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from export.quantize import select_openvino
from service.repository import checksums
from service.repository.manifest import GOLDEN, OPENVINO_INT8, OPENVINO_INT8_GOLDEN, TFLITE


def add_form(version: Path) -> None:
    """`version` has a float32 `model.tflite`. Skips the test where what quantizes is not installed."""
    if find_spec("openvino") is None or find_spec("nncf") is None:
        pytest.skip("OpenVINO or NNCF is not installed")
    target = version / OPENVINO_INT8
    target.parent.mkdir(exist_ok=True)
    images = np.load(version / GOLDEN)["images"]
    with select_openvino.quantize(version / TFLITE, target, images) as network:
        np.save(version / OPENVINO_INT8_GOLDEN, network.compute(images))
    checksums.write(version)
