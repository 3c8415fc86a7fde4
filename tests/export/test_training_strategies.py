"""Which layers learn, how fast and for how long: by strategy, by block, by the number of images."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.architectures.architecture import Recipe
from export.data.dataset import Split
from export.data.pixels import to_tensor
from export.errors import ExportError
from export.progress import Stage
from export.training import adapt, features, loop, phases, train
from export.training.blocks import find_blocks
from export.training.optimizers import build_optimizer, build_schedule
from export.training.options import TrainingOptions

LENET = ARCHITECTURES["lenet5"]
RECIPE = Recipe(epochs=10, batch_size=8, learning_rate=0.01)


def stage() -> Stage:
    return Stage("test", lambda text: None)


def network(classes: int = 3) -> Any:
    keras.utils.set_random_seed(0)
    return LENET.build(LENET.shape(28), classes)


def stripes(count: int, classes: int = 3) -> Split:
    """Images that a network tells apart in a few steps: as bright as their class."""
    labels = (np.arange(count) % classes).astype(np.int32)
    noise = np.random.default_rng(count).integers(0, 40, (count, 28, 28, 3))
    return Split((noise + labels[:, None, None, None] * 80).astype(np.uint8), labels)


def skeleton(name: str) -> Any:
    """A network without memory for weights."""
    row = ARCHITECTURES[name]
    with keras.StatelessScope(initialize_variables=False):
        return row.build(row.shape(max(row.smallest_size, 64)), 10)


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [
        ("lenet5", 4, ["c5", "f6"]),
        ("vgg16", 7, ["fc1", "fc2"]),
        ("resnet50", 17, ["conv5_block2", "conv5_block3"]),
        ("resnet50_v2", 17, ["conv5_block2", "conv5_block3"]),  # its blocks begin with a batch norm
        ("efficientnet_b0", 18, ["block7a", "top_conv"]),
    ],
)
def test_blocks_are_those_of_the_networks_builders(name: str, count: int, last: list[str]) -> None:
    model = skeleton(name)
    layers = [layer for layer in model.layers if layer.weights][:-1]
    blocks = find_blocks(model, layers)
    assert [block.name for block in blocks[-2:]] == last
    assert len(blocks) == count
    assert [layer for block in blocks for layer in block.layers] == layers


def plan(strategy: str, images: int = 1000, per_class: float = 100, **options: Any) -> tuple[phases.Phase, ...]:
    model = network()
    known = [layer for layer in model.layers if layer.weights][:-1]
    return phases.plan(model, known, strategy, RECIPE, TrainingOptions(strategy, **options), images, per_class)


def test_a_probe_trains_the_head_alone() -> None:
    (probe,) = plan("linear_probe")
    assert [layer.name for layer in probe.frozen] == ["c1", "c3", "c5", "f6"]
    assert probe.cached
    assert probe.recipe.epochs * phases.count_steps(1000, probe.recipe.batch_size) >= 1000


@pytest.mark.parametrize(("unfreeze", "frozen"), [("1", 3), ("0.5", 2), ("all", 0), ("9", 0)])
def test_fine_tuning_unfreezes_the_last_blocks(unfreeze: str, frozen: int) -> None:
    probe, fine = plan("fine_tune", unfreeze=unfreeze)
    assert probe.cached
    assert [layer.name for layer in fine.frozen] == ["c1", "c3", "c5", "f6"][:frozen]
    assert fine.recipe.learning_rate == pytest.approx(RECIPE.learning_rate / 10)
    trained = ["c1", "c3", "c5", "f6"][frozen:]
    assert dict(fine.rates) == pytest.approx({name: 0.9 ** (len(trained) - at) for at, name in enumerate(trained)})


def test_many_images_unfreeze_more_than_few() -> None:
    (_, few), (_, many) = (plan("fine_tune", per_class=per_class) for per_class in (20, 2000))
    assert len(few.frozen) > len(many.frozen) == 0


def test_batch_norms_of_given_weights_keep_their_statistics() -> None:
    model = skeleton("mobilenet_v3_small")
    known = [layer for layer in model.layers if layer.weights][:-1]
    options = TrainingOptions("fine_tune", unfreeze="all")
    _, fine = phases.plan(model, known, "fine_tune", RECIPE, options, 1000, 100)
    assert fine.frozen
    assert all(isinstance(layer, keras.layers.BatchNormalization) for layer in fine.frozen)


def test_weights_as_they_are_need_a_head_that_fits() -> None:
    with pytest.raises(ExportError, match=r"fit all but the last 1 layer of lenet5 .* give --strategy auto"):
        plan("none")


def test_random_weights_get_more_steps_than_given_ones() -> None:
    model = network()
    layers = [layer for layer in model.layers if layer.weights]
    steps = {}
    for known in ((), layers):
        (phase,) = phases.plan(model, known, "full", RECIPE, TrainingOptions("full"), 42, 10)
        steps[len(known)] = phase.recipe.epochs * phases.count_steps(42, phase.recipe.batch_size)
    assert steps[0] >= 400 > steps[len(layers)] >= 100


@pytest.mark.parametrize("images", [10, 42, 300, 5000])
def test_few_images_get_some_hundred_steps_all_the_same(images: int) -> None:
    recipe = phases.fit_recipe(Recipe(12, 64, 1e-3), images)
    assert recipe.epochs * phases.count_steps(images, recipe.batch_size) >= 100
    asked = phases.fit_recipe(Recipe(2, 64, 1e-3), images, frozenset({"epochs", "batch_size"}))
    assert (asked.epochs, asked.batch_size) == (2, 64)


@pytest.mark.parametrize(("kind", "end"), [("cosine", 0.0), ("exponential", 0.01), ("constant", 1.0)])
def test_a_learning_rate_warms_up_and_falls(kind: str, end: float) -> None:
    schedule = build_schedule(kind, 0.5, 100, 0.1)
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] < 0.06
    assert max(rates) == pytest.approx(0.5, rel=0.01)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.5 * end, abs=1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_layers_learn_at_their_share_of_the_rate(name: str) -> None:
    front, back = keras.layers.Dense(1, name="front"), keras.layers.Dense(1, name="back")
    keras.Sequential([keras.layers.Input((1,)), front, back])
    options = TrainingOptions(optimizer=name, schedule="constant", warmup=0.0, weight_decay=0.0)
    optimizer = build_optimizer(options, 0.1, 10, [front, back], {"front": 0.25})
    variables = [front.bias, back.bias]
    optimizer.build(variables)
    optimizer.apply([np.ones((1,), np.float32)] * 2, variables)
    slow, fast = (abs(float(variable.numpy()[0])) for variable in variables)
    assert slow == pytest.approx(fast / 4, rel=1e-4)


def test_weight_decay_leaves_biases_alone() -> None:
    layer = keras.layers.Dense(1, bias_initializer="ones", kernel_initializer="ones")
    layer.build((1, 1))
    options = TrainingOptions(schedule="constant", warmup=0.0, weight_decay=0.5)
    optimizer = build_optimizer(options, 0.1, 10, [layer], {})
    optimizer.build(layer.trainable_weights)
    optimizer.apply([np.zeros(weight.shape, np.float32) for weight in layer.trainable_weights])
    assert float(layer.kernel.numpy()[0, 0]) == pytest.approx(0.95)
    assert float(layer.bias.numpy()[0]) == 1


def test_classes_weigh_the_same_where_folders_do_not() -> None:
    assert adapt.choose_class_weights("auto", np.array([10, 15])) is None
    weights = adapt.choose_class_weights("auto", np.array([10, 30, 0]))
    assert weights == pytest.approx({0: 2.0, 1: 2 / 3})
    assert adapt.choose_class_weights("balanced", np.array([10, 15])) == pytest.approx({0: 1.25, 1: 25 / 30})
    assert adapt.choose_class_weights("none", np.array([10, 300])) is None


def test_features_are_those_that_the_network_computes_in_use() -> None:
    model, images = network(), stripes(40)
    backbone, head = features.cut(model, [model.layers[-1]])
    computed = features.compute(backbone, LENET, images, stage())
    whole = model(to_tensor(images.images, LENET), training=False).numpy()
    np.testing.assert_allclose(head(computed.images, training=False).numpy(), whole, atol=1e-5)


def fit(tmp_path: Path, recipe: Recipe, **options: Any) -> tuple[Any, loop.Outcome]:
    model = network()
    batches = train.prepare_batches(LENET, stripes(48), stripes(30), recipe.batch_size, 0, 3)
    options = {"class_weights": "none", **options}
    done = loop.run(
        model, batches, recipe, TrainingOptions(**options), stage(), rates={}, class_weights=None, folder=tmp_path
    )
    return model, done


def test_epochs_without_a_gain_end_the_run_and_weights_are_those_of_the_epoch_that_is_named(tmp_path: Path) -> None:
    # So high a rate leaves good weights behind again.
    model, done = fit(tmp_path, Recipe(12, 8, 0.02), schedule="constant", patience=2)
    losses = done.history["val_loss"]
    assert done.epochs == len(losses) < 12
    assert loop.find_last_gain(done.history["val_accuracy"], losses) == done.epochs - 2
    answers = model(to_tensor(stripes(30).images, LENET), training=False).numpy()
    loss = -np.log(answers[np.arange(30), stripes(30).classes]).mean()
    assert loss == pytest.approx(losses[done.best_epoch - 1], rel=1e-3)


@pytest.mark.parametrize(
    ("images", "accuracies", "among"),
    [
        (400, [0.3, 0.8, 0.79, 0.7, 0.8], [True, True, True, False, True]),
        (10, [0.3, 0.8, 0.7, 0.6, 0.9], [True, True, True, False, True]),
        (144, [0.9722, 0.9306, 0.9653], [True, False, True]),  # a lucky epoch, and one that is an image worse
        (5, [1.0, 0.8, 1.0], [True, False, True]),
    ],
)
def test_an_epoch_is_among_the_best_within_a_standard_error(
    images: int, accuracies: list[float], among: list[bool]
) -> None:
    assert [loop.is_among_best(accuracies[: count + 1], images) for count in range(len(accuracies))] == among


def test_weights_kept_are_the_last_of_the_best_and_gains_are_of_accuracy_or_loss(tmp_path: Path) -> None:
    """Of few images the loss rises while more of them are right: the network is surer of its mistakes."""
    keeper = loop._build_keeper(tmp_path, 3, 400, None)
    keeper.set_model(network())
    told = [(1.1, 0.3), (1.4, 0.8), (1.5, 0.79), (0.9, 0.7), (1.2, 0.8), (1.2, 0.6), (1.2, 0.6), (1.2, 0.6)]
    best, stopped = [], []
    for epoch, (loss, accuracy) in enumerate(told):
        keeper.model.stop_training = False
        keeper.model.layers[1].set_weights(
            [np.full(weight.shape, epoch + 1) for weight in keeper.model.layers[1].weights]
        )
        keeper.on_epoch_end(epoch, {"loss": 1.0, "accuracy": 0.5, "val_loss": loss, "val_accuracy": accuracy})
        best.append(keeper.best_epoch)
        stopped.append(keeper.model.stop_training)
    assert best == [1, 2, 3, 3, 5, 5, 5, 5]
    keeper.restore_best()
    assert float(keeper.model.layers[1].weights[0].numpy().max()) == 5
    assert stopped == [False] * 6 + [True] * 2, "the fourth epoch had the lowest loss, and three came after it"
    losses, accuracies = zip(*told, strict=True)
    assert [loop.find_last_gain(accuracies[:count], losses[:count]) for count in range(1, 9)] == [1, 2, 2] + [4] * 5


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_leaves_a_float32_network(tmp_path: Path, precision: str) -> None:
    model, done = fit(tmp_path, Recipe(3, 8, 0.003), precision=precision)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert done.history["val_accuracy"][-1] > 0.6, "better than one class of three"


def test_timing_steps_ahead_changes_nothing(tmp_path: Path) -> None:
    """Two epochs and their estimate end where two epochs without one do: same images, same moments."""
    said: list[str] = []
    model = network()
    batches = train.prepare_batches(LENET, stripes(48), stripes(30), 8, 0, 3)
    model.compile(build_optimizer(TrainingOptions(), 0.01, 12, model.layers, {}), "sparse_categorical_crossentropy")
    before = [weight.numpy() for weight in model.weights]
    loop._estimate(model, batches, 2, Stage("test", said.append))
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert int(model.optimizer.iterations) == 0
    assert "for 2 epochs of 6 steps" in "".join(said)


def test_a_diverged_run_ends_at_once(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="training diverged"):
        fit(tmp_path, Recipe(3, 8, 3e38), optimizer="sgd", schedule="constant", warmup=0.0)


def test_numbers_of_each_epoch_are_logged(tmp_path: Path) -> None:
    model = network()
    batches = train.prepare_batches(LENET, stripes(48), stripes(30), 8, 0, 3)
    log = tmp_path / "logs" / "lenet5" / "1-training"
    (tmp_path / "kept").mkdir()
    options = TrainingOptions()
    loop.run(
        model, batches, Recipe(2, 8, 0.01), options, stage(),
        rates={}, class_weights=None, folder=tmp_path / "kept", log=log,
    )  # fmt: skip
    head, *rows = log.with_suffix(".csv").read_text().splitlines()
    assert head == "epoch,accuracy,loss,val_accuracy,val_loss"
    assert len(rows) == 2
