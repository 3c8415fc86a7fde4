"""Batch norms' statistics: averaged over the training images, and stale ones told from good ones."""

from typing import Any

import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.data import pixels
from export.data.dataset import Split
from export.data.pixels import to_tensor
from export.progress import Stage
from export.training import batch_norms

ROW = ARCHITECTURES["mobilenet_v3_small"]


def stage() -> Stage:
    return Stage("test", lambda text: None)


def noise(count: int = 256, side: int = 8) -> Split:
    generator = np.random.default_rng(0)
    return Split(generator.integers(0, 256, (count, side, side, 3), np.uint8), np.zeros(count, np.int32))


def network(side: int = 8) -> tuple[Any, Any]:
    norm = keras.layers.BatchNormalization(momentum=0.999)
    return keras.Sequential([keras.layers.Input((side, side, 3)), norm]), norm


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_become_the_average_of_the_training_images(frozen: bool) -> None:
    split = noise()
    model, norm = network()
    norm.trainable = not frozen
    batch_norms.re_estimate(model, [norm], ROW, split, 0, stage())
    tensor = to_tensor(split.images, ROW).numpy()
    np.testing.assert_allclose(norm.moving_mean, tensor.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, tensor.var(axis=(0, 1, 2)), rtol=1e-3)
    assert (norm.momentum, norm.trainable) == (0.999, not frozen)


@pytest.mark.parametrize(
    ("mean", "deviation", "stale"),
    [(0.0, 1.0, False), (0.1, 0.9, False), (0.0, 0.5, True), (0.7, 1.0, True), (0.0, 20.0, True), (5.0, 1.0, True)],
)
def test_stale_is_what_normalises_to_something_else(mean: float, deviation: float, stale: bool) -> None:
    """`mean` and `deviation` are off by that much, in deviations."""
    split = noise()
    model, norm = network()
    norm.trainable = False
    tensor = to_tensor(split.images, ROW).numpy()
    right = tensor.std(axis=(0, 1, 2))
    given = [tensor.mean(axis=(0, 1, 2)) + mean * right, (right * deviation) ** 2]
    norm.set_weights([np.ones(3), np.zeros(3), *given])
    apart = batch_norms.measure_staleness(model, [norm], ROW, split, 0, stage())
    assert (apart > batch_norms.STALE) == stale, apart
    np.testing.assert_allclose(norm.moving_mean, given[0], rtol=1e-6)  # only looked at
    np.testing.assert_allclose(norm.moving_variance, given[1], rtol=1e-6)


def test_a_few_images_tell_nothing() -> None:
    model, norm = network()
    norm.set_weights([np.ones(3), np.zeros(3), np.full(3, 100), np.full(3, 1e-6)])
    assert batch_norms.measure_staleness(model, [norm], ROW, noise(8), 0, stage()) == 0


@pytest.mark.parametrize(("side", "at_once"), [(8, 32), (224, 8)])
def test_a_glance_looks_at_few_large_images_at_once(side: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def count(rows: Any, row: Any) -> Any:
        seen.append(len(rows))
        return to_tensor(rows, row)

    monkeypatch.setattr(pixels, "to_tensor", count)
    model, norm = network(side)
    split = noise(64, side)
    batch_norms.measure_staleness(model, [norm], ROW, split, 0, stage())
    assert seen == [at_once] * (64 // at_once)
