import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.data.dataset import Split
from export.errors import ExportError
from export.progress import Stage
from export.training import train

ROW = ARCHITECTURES["mobilenet_v3_small"]


def stage() -> Stage:
    return Stage("test", lambda text: None)


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


def test_a_network_that_answers_nan_is_said_to_have_diverged() -> None:
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.layers[-1].set_weights([np.full((192, 2), np.nan), np.zeros(2)])
    split = Split(np.zeros((6, 8, 8, 3), np.uint8), np.zeros(6, np.int32))
    with pytest.raises(ExportError, match="its training diverged; lower --learning-rate"):
        train.evaluate(model, ROW, split, ("a", "b"), stage())
