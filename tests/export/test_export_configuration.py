"""Two networks compute the same where their layers, settings and wiring are the same, whatever they are called."""

from typing import Any

import keras
import pytest
from keras import layers

from export.architectures import ARCHITECTURES
from export.architectures.architecture import Architecture
from export.training.configuration import compare, find_head, read_layers


def network(
    *,
    ahead: tuple[Any, ...] = (),
    padding: str = "same",
    strides: int = 1,
    activation: str = "relu",
    pooling: Any = layers.MaxPooling2D,
    epsilon: float = 1e-3,
    behind: tuple[Any, ...] = (),
    bias: bool = True,
    ceiling: float = 6.0,
    classes: int = 3,
    dtype: str = "float32",
) -> Any:
    """A convolution, two ways through and together again, a head."""
    image = x = layers.Input((8, 8, 3))
    for layer in ahead:
        x = layer(x)
    x = layers.Conv2D(4, 3, strides, padding=padding, activation=activation, use_bias=bias, dtype=dtype)(x)
    x = layers.BatchNormalization(epsilon=epsilon, dtype=dtype)(x)
    one, other = layers.ReLU(ceiling)(x), layers.Conv2D(4, 1)(x)
    x = layers.Add()([one, other])
    x = pooling(2)(x)
    for layer in behind:
        x = layer(x)
    x = layers.Dense(classes, "softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


def differences(theirs: Any, ours: Any) -> list[str]:
    return [each.text for each in compare(read_layers(theirs), read_layers(ours))]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"activation": "tanh"}, "has activation 'tanh' (ours has 'relu')"),
        ({"padding": "valid"}, "has padding 'valid' (ours has 'same')"),
        ({"strides": 2}, "has strides [2, 2] (ours has [1, 1])"),
        ({"epsilon": 1e-5}, "has epsilon 1e-05 (ours has 0.001)"),
        ({"ceiling": 7.0}, "has max_value 7.0 (ours has 6.0)"),
        ({"bias": False}, "has use_bias False (ours has True)"),
        ({"classes": 4}, "has units 4 (ours has 3)"),
        ({"pooling": layers.AveragePooling2D}, "AveragePooling2D 'average_pooling2d"),
        ({"ahead": (layers.Rescaling(1 / 255),)}, "an extra Rescaling 'rescaling"),
        ({"behind": (layers.Activation("tanh"),)}, "an extra Activation"),
    ],
)
def test_one_difference_is_one_line(changed: dict[str, Any], says: str) -> None:
    (said,) = differences(network(**changed), network())
    assert says in said
    assert differences(network(**changed), network(**changed)) == []


@pytest.mark.parametrize(
    "same",
    [
        {"ahead": (layers.Dropout(0.5), layers.RandomFlip())},
        {"ahead": (keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)]),)},
        {"behind": (layers.SpatialDropout2D(0.2), layers.Activation("linear"))},
        {"dtype": "mixed_bfloat16"},
    ],
)
def test_what_only_training_sees_does_not_differ(same: dict[str, Any]) -> None:
    model = network(**same)
    model.trainable = False
    assert differences(model, network()) == []
    assert differences(network(), model) == []


def test_a_layer_that_takes_from_another_one_differs() -> None:
    def build(skipped: int) -> Any:
        outputs = [layers.Input((8, 8, 3), name="image")]
        for place in range(3):
            outputs.append(layers.Conv2D(3, 1, name=f"c{place}")(outputs[-1]))
        return keras.Model(outputs[0], layers.Add(name="sum")([outputs[-1], outputs[skipped]]))

    assert differences(build(1), build(2)) == ["'sum' takes 'c2' and 'c0' (ours takes 'c2' and 'c1')"]
    assert differences(build(0), build(1)) == ["'sum' takes 'c2' and the image (ours takes 'c2' and 'c0')"]


def test_a_sequential_is_the_chain_that_it_is() -> None:
    def build() -> tuple[Any, ...]:
        return layers.Conv2D(4, 3), layers.Dropout(0.5), layers.Flatten(), layers.Dense(2)

    image = x = layers.Input((8, 8, 3))
    for layer in build():
        x = layer(x)
    sequential, functional = keras.Sequential([layers.Input((8, 8, 3)), *build()]), keras.Model(image, x)
    assert differences(sequential, functional) == []
    assert differences(functional, sequential) == []


def test_the_other_operand_of_an_operation_is_a_setting() -> None:
    def build(factor: float) -> Any:
        image = layers.Input((8, 8, 3))
        return keras.Model(image, layers.Conv2D(4, 3)(image * factor))

    (said,) = differences(build(2.0), build(3.0))
    assert "called with" in said
    assert differences(build(2.0), build(2.0)) == []


CHEAP = {"lenet5", "mobilenet_v3_small", "inception_v3", "vgg16"}


@pytest.mark.parametrize(
    "row",
    [row if row.name in CHEAP else pytest.param(row, marks=pytest.mark.slow) for row in ARCHITECTURES.values()],
    ids=lambda row: row.name,
)
def test_every_network_is_itself_when_read_back_and_has_a_head(row: Architecture) -> None:
    with keras.StatelessScope(initialize_variables=False):
        model = row.build(row.shape(row.smallest_size), 5)
        again = keras.Model.from_config(model.get_config())
    assert model.output_shape == (None, 5), "it does not build at its smallest size"
    described = read_layers(model)
    assert differences(again, model) == []
    head = described[find_head(described) :]
    # Not the pooling in blocks that weigh channels.
    assert head[0].kind in ("Flatten", "GlobalAveragePooling2D")
    assert len(head) < 8
