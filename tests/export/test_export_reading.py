"""Files of every make are trained on as they are served: one verdict each, the gateway's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from export.data import reading
from export.errors import ExportError
from service.preprocessing import decode as images
from tests.support.image_matrix import ImageFile, Verdict, all_files

SIZE = 40


@pytest.fixture(scope="module")
def decode() -> Callable[[bytes], Any]:
    return reading.build_graph(SIZE)


@pytest.mark.parametrize("file", [pytest.param(file, id=file.name) for file in all_files()])
def test_training_sees_what_the_gateway_sees(file: ImageFile, decode: Callable[[bytes], Any]) -> None:
    if not file.accepted:
        with pytest.raises(ExportError, match=file.says):
            reading.read(file.data, SIZE, decode)
        return
    pixels, trouble = reading.read(file.data, SIZE, decode)
    served = images.decode(file.data, SIZE, SIZE)
    assert np.abs(pixels.astype(int) - served).max() <= 2
    beside = file.verdict is Verdict.BESIDE_THE_GRAPH or file.name.startswith("webp")
    assert bool(trouble) == beside, trouble
    if "exif" in file.name and beside and not file.name.startswith("webp"):
        assert "turned by their EXIF orientation" in trouble
