import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.architectures.architecture import Architecture
from export.pixels import to_tensor

ROWS = list(ARCHITECTURES.values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_builds_with_the_published_number_of_parameters(row: Architecture) -> None:
    assert row.build(row.shape(row.input_size), row.classes).count_params() == row.parameters


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_takes_its_smallest_size_and_answers_probabilities(row: Architecture) -> None:
    model = row.build(row.shape(row.smallest_size), 3)
    pixels = np.random.default_rng(0).integers(0, 256, (2, row.smallest_size, row.smallest_size, 3), np.uint8)
    probabilities = model(to_tensor(pixels, row), training=False).numpy()
    assert probabilities.shape == (2, 3)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_pixels_become_what_each_network_takes() -> None:
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    black = np.zeros_like(white)
    for name, low, high, channels in (("lenet5", -0.1, 1.175, 1), ("mobilenet_v3_small", -1, 1, 3)):
        row = ARCHITECTURES[name]
        np.testing.assert_allclose(to_tensor(black, row), np.full((1, 2, 2, channels), low), atol=1e-6)
        np.testing.assert_allclose(to_tensor(white, row), np.full((1, 2, 2, channels), high), atol=1e-6)
