"""GoogLeNet's heads in its middle: they teach it, and are no part of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.quiet import import_tensorflow
from export.training import loop
from export.training.auxiliary import WEIGHT, join_heads

SIZE, CLASSES = 32, 10


@pytest.fixture
def model() -> Iterator[Any]:
    import_tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    yield ARCHITECTURES["googlenet"].build((SIZE, SIZE, 3), CLASSES)
    keras.backend.clear_session()


def compile_joined(model: Any) -> Any:
    import keras

    auxiliary = ARCHITECTURES["googlenet"].auxiliary
    assert auxiliary is not None
    joined = join_heads(model, auxiliary(model))
    joined.compile(keras.optimizers.SGD(0.0), loop._build_loss(0.0), metrics=[loop._build_accuracy()])
    return joined


def test_each_head_counts_for_its_share_of_the_loss_in_training_only(model: Any) -> None:
    before = model.count_params()
    joined = compile_joined(model)
    assert model.count_params() == before and len(joined.outputs) == 3
    generator = np.random.default_rng(0)
    images = generator.random((8, SIZE, SIZE, 3), np.float32)
    classes = generator.integers(0, CLASSES, 8).astype(np.int32)
    *heads, own = (np.asarray(each)[np.arange(8), classes] for each in joined(images, training=False))
    losses = [float(-np.log(right).mean()) for right in (own, *heads)]
    wanted = losses[0] + WEIGHT * (losses[1] + losses[2])
    predicted = joined(images, training=False)
    assert float(joined.compute_loss(images, classes, predicted)) == pytest.approx(wanted, rel=1e-4)
    assert float(joined.compute_loss(images, classes, predicted, training=False)) == pytest.approx(losses[0], rel=1e-4)
    validated = joined.evaluate(images, classes, verbose=0, return_dict=True)
    assert validated["loss"] == pytest.approx(losses[0], rel=1e-4) and set(validated) == {"loss", "accuracy"}
    assert validated["accuracy"] == pytest.approx((np.asarray(model(images)).argmax(-1) == classes).mean())


def test_what_lies_before_them_learns_where_the_answer_teaches_nothing(model: Any) -> None:
    import tensorflow as tf

    model.get_layer("predictions").kernel.assign(np.zeros((1024, CLASSES)))  # no gradient passes
    joined = compile_joined(model)
    images, classes = np.ones((2, SIZE, SIZE, 3), np.float32), np.array([1, 2], np.int32)
    with tf.GradientTape() as tape:
        loss = joined.compute_loss(images, classes, joined(images, training=True))
    first, late = (model.get_layer(name).kernel.value for name in ("conv1", "inception_5b_1x1"))
    taught, untaught = tape.gradient(loss, [first, late])
    assert np.abs(taught).max() > 0 and np.abs(untaught).max() == 0
