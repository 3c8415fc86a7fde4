import math
import re
from typing import Any

import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES, blocks
from export.architectures.applications import widen
from export.architectures.architecture import Architecture
from export.architectures.blocks import leave_to_tensorflow, normalize_responses
from export.architectures.cost import count_cost, list_stages
from export.architectures.costs import COSTS
from export.data.pixels import to_tensor

ROWS = list(ARCHITECTURES.values())
CHEAP = ["lenet5", "vgg16", "mobilenet_v3_small", "nasnet_mobile", "inception_v3", "densenet121", "efficientnet_lite0"]
CHEAP += [
    "alexnet",
    "nin",
    "googlenet",
    "resnet18",
    "resnext50_32x4d",
    "squeezenet1_1",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
]
CHEAP_AND_THE_REST = [row if row.name in CHEAP else pytest.param(row, marks=pytest.mark.slow) for row in ROWS]


@pytest.mark.parametrize("row", CHEAP_AND_THE_REST, ids=lambda row: row.name)
def test_builds_with_the_published_number_of_parameters(row: Architecture) -> None:
    with keras.StatelessScope(initialize_variables=False):  # shapes, and no memory behind them
        model = row.build(row.shape(row.input_size), row.classes)
        assert model.count_params() == row.parameters
        if row.trainable is not None:
            assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == row.trainable
        assert model.input_shape == (None, *row.shape(row.input_size))
        assert model.output_shape == (None, row.classes)
        assert count_cost(model) == COSTS[row.name]
        stages = list_stages(model)
    assert sum(stage.macs for stage in stages) == COSTS[row.name].macs
    assert sum(stage.parameters for stage in stages) == row.parameters
    assert stages[-1].kind == "head" and stages[-1].shape == (row.classes,)


@pytest.mark.parametrize("row", [row for row in ROWS if row.name != "lenet5"], ids=lambda row: row.name)
def test_keras_builds_it_no_smaller_than_its_smallest_size(row: Architecture) -> None:
    """That it builds at that size is shown by `test_every_network_is_itself_when_read_back_and_has_a_head`."""
    with (
        keras.StatelessScope(initialize_variables=False),
        pytest.raises(ValueError, match=f"at least {row.smallest_size}x{row.smallest_size}"),
    ):
        row.build(row.shape(row.smallest_size - 1), 3)


@pytest.mark.parametrize("name", ["lenet5", "vgg16", "mobilenet_v3_small", "densenet121"])
def test_answers_probabilities_at_its_smallest_size(name: str) -> None:
    row = ARCHITECTURES[name]
    model = row.build(row.shape(row.smallest_size), 3)
    pixels = np.random.default_rng(0).integers(0, 256, (2, row.smallest_size, row.smallest_size, 3), np.uint8)
    probabilities = model(to_tensor(pixels, row), training=False).numpy()
    assert probabilities.shape == (2, 3)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_a_count_taken_from_what_is_built_is_within_a_hundredth_of_what_was_published_in_millions() -> None:
    found = {row: re.search(r"published as ([\d.]+)M", row.source) for row in ROWS}
    published = {row: float(match[1]) for row, match in found.items() if match}
    assert len(published) == 15
    for row, millions in published.items():
        assert (row.trainable or row.parameters) / 1e6 == pytest.approx(millions, rel=0.01), row.name


def test_whoever_publishes_weights_says_what_they_get_right_and_what_may_be_done_with_them() -> None:
    for row in ROWS:
        assert row.weights_by or not row.licence, row.name
        assert bool(row.measured_by) == (row.top1 is not None), row.name
        assert row.top1 is not None or not row.weights_by, row.name
        assert row.top1 is None or 0.58 < row.top1 < (row.top5 or 0.87), row.name


@pytest.mark.parametrize(
    ("name", "alpha", "parameters"),
    [
        ("mobilenet", 0.25, 0.47e6),
        ("mobilenet", 0.5, 1.34e6),
        ("mobilenet_v2", 0.35, 1.66e6),
        ("mobilenet_v2", 1.4, 6.06e6),
    ],
)
def test_a_width_builds_with_the_published_number_of_parameters(name: str, alpha: float, parameters: float) -> None:
    """arXiv:1704.04861, table 6; tensorflow/models, slim, MobileNetV2."""
    row = widen(ARCHITECTURES[name], alpha)
    with keras.StatelessScope(initialize_variables=False):
        model = row.build(row.shape(row.input_size), row.classes)
    assert model.count_params() == pytest.approx(parameters, rel=0.02)


def test_responses_are_normalized_as_alexnets_are() -> None:
    import tensorflow as tf

    x = np.random.default_rng(0).normal(0, 100, (2, 5, 5, 96)).astype(np.float32)
    expected = tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75)
    np.testing.assert_allclose(normalize_responses(x), expected, rtol=1e-5)


def grouped_convolution(channels: int, groups: int) -> Any:
    layer = keras.layers.Conv2D(channels, 3, 2, groups=groups, use_bias=False)
    layer.build((None, None, None, channels))
    leave_to_tensorflow(layer)
    return layer


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_convolution_in_groups_is_one_of_each_group(dtype: str) -> None:
    import tensorflow as tf

    layer = grouped_convolution(channels=8, groups=4)
    image = tf.cast(tf.random.stateless_normal((2, 7, 6, 8), seed=(0, 0)), dtype)
    kernel = tf.cast(layer.kernel, dtype)

    def convolve_each(image: Any, kernel: Any) -> Any:
        parts = zip(tf.split(image, 4, axis=-1), tf.split(kernel, 4, axis=-1), strict=True)
        return tf.concat([tf.nn.conv2d(*part, 2, "VALID") for part in parts], axis=-1)

    results = []
    for convolve in (layer.convolution_op, convolve_each):
        with tf.GradientTape() as tape:
            tape.watch((image, kernel))
            outputs = convolve(image, kernel)
            loss = tf.reduce_sum(outputs**2)
        results.append((outputs, *tape.gradient(loss, (image, kernel))))
    for found, wanted in zip(*results, strict=True):
        tolerance = 1e-4 if dtype == "float32" else 0.1
        np.testing.assert_allclose(tf.cast(found, "float32"), tf.cast(wanted, "float32"), tolerance, tolerance)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_convolution_in_groups_is_left_to_xla_only_where_tensorflow_cannot_train_it(
    trainable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a CPU without oneDNN."""
    import tensorflow as tf

    monkeypatch.setattr(blocks, "_has_gradient_in_groups", lambda dtype: trainable)
    layer = grouped_convolution(channels=8, groups=4)
    traced = tf.function(layer).get_concrete_function(tf.TensorSpec((None, 7, 6, 8)))
    compiled = [each for each in traced.graph.as_graph_def().library.function if "_XlaMustCompile" in each.attr]
    assert bool(compiled) == (not trainable)


def test_keras_has_no_network_that_is_missing_here() -> None:
    """Every function of keras.applications that builds one, spelled as here: VGG16, vgg16."""
    builders = {name.lower() for name in dir(keras.applications) if name[0].isupper()}
    rows = {row.name.replace("_", "") for row in ROWS if row.weights_by == "Keras"}
    assert rows == builders
    assert len(rows) == 40


def test_every_row_says_where_it_is_from() -> None:
    for row in ROWS:
        assert 1998 <= row.year <= 2022
        assert row.family
        assert row.name == "lenet5" or re.match(r"(arXiv:\d{4}\.\d{4,5}|NeurIPS 2012), .+: .+; count: ", row.source)
        assert bool(row.weights_by) == (row.pretrained is not None)
