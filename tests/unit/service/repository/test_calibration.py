"""Temperature scaling of probabilities."""

import numpy as np
import pytest

from service.repository.calibration import scale


def test_logits_are_divided_by_the_temperature() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7)) * 4

    def softmax(values: np.ndarray) -> np.ndarray:
        shares: np.ndarray = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
        return shares

    for temperature in (0.3, 1.0, 4.0):
        assert scale(softmax(logits), temperature) == pytest.approx(softmax(logits / temperature), abs=1e-7)


def test_a_probability_of_0_is_a_very_small_one() -> None:
    scaled = scale(np.array([[1.0, 0.0, 0.0]], np.float32), 2.0)
    assert np.isfinite(scaled).all() and scaled.sum() == pytest.approx(1)
    assert scaled[0].tolist() == pytest.approx([1 / (1 + 2e-6), 1e-6 / (1 + 2e-6), 1e-6 / (1 + 2e-6)], rel=1e-6)
