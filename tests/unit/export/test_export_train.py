import keras
import numpy as np

from export import train
from export.architectures import ARCHITECTURES
from export.data import Split
from export.pixels import to_tensor
from export.progress import Stage

ROW = ARCHITECTURES["mobilenet_v3_small"]


def stage() -> Stage:
    return Stage("test", lambda text: None)


def test_statistics_become_the_average_of_the_training_images() -> None:
    generator = np.random.default_rng(0)
    split = Split(generator.integers(0, 256, (256, 8, 8, 3), np.uint8), np.zeros(256, np.int32))
    norm = keras.layers.BatchNormalization(momentum=0.999)
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), norm])
    train.re_estimate_statistics(model, ROW, split, 0, stage())
    tensor = to_tensor(split.images, ROW).numpy()
    np.testing.assert_allclose(norm.moving_mean, tensor.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, tensor.var(axis=(0, 1, 2)), rtol=1e-3)
    assert norm.momentum == 0.999


def test_frozen_statistics_stay() -> None:
    split = Split(np.full((4, 8, 8, 3), 9, np.uint8), np.zeros(4, np.int32))
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), norm])
    norm.trainable = False
    train.re_estimate_statistics(model, ROW, split, 0, stage())
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(3))


def test_score_is_counted_class_by_class() -> None:
    images = np.zeros((6, 8, 8, 3), np.uint8)
    # Always answers class 0.
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.layers[-1].set_weights([np.zeros((192, 2)), np.array([1.0, 0.0])])
    split = Split(images, np.array([0, 0, 0, 1, 1, 0], np.int32))
    score = train.evaluate(model, ROW, split, ("a", "b"), stage())
    assert score.accuracy == 4 / 6
    assert score.by_class == {"a": 1.0, "b": 0.0}
    assert score.worst == "b"
