"""Training from end to end on images made up here: what is decided, kept for an interrupted run, and refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.data.dataset import Dataset, Split
from export.data.options import DataOptions
from export.errors import ExportError, UsageError
from export.progress import Progress, Stage
from export.spec import ExportSpec
from export.training import adapt, auto, checkpoints, labels
from export.training.options import TrainingOptions
from export.training.weights import Start

LENET = ARCHITECTURES["lenet5"]


def bars(count: int, classes: int, seed: int = 0) -> Split:
    """A bright bar on noise, at a height that tells its class."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 60, (count, 28, 28, 3)).astype(np.uint8)
    found = (np.arange(count) % classes).astype(np.int32)
    for image, label in zip(images, found, strict=True):
        top = 2 + int(label) * 24 // classes
        image[top : top + 3] = 200
    return Split(images, found)


def dataset(count: int = 60, classes: int = 3) -> Dataset:
    names = tuple("abcdefgh"[:classes])
    return Dataset("bars", names, bars(count, classes), bars(12, classes, 1), bars(30, classes, 2), ())


def ask(tmp_path: Path, weights: str = "none", **options: Any) -> ExportSpec:
    if weights != "none":
        (tmp_path / weights).touch()
        weights = str(tmp_path / weights)
    return ExportSpec(
        architecture=LENET, name="bars", data="digits", weights=weights, image_size=28, recipe=LENET.recipe, seed=0,
        repository=tmp_path / "models", training=TrainingOptions(**options),
    )  # fmt: skip


def begin(known: int = 0, classes: int = 3) -> Start:
    keras.utils.set_random_seed(0)
    model = LENET.build(LENET.shape(28), classes)
    return Start(model, tuple(layer for layer in model.layers if layer.weights)[:known])


def run(spec: ExportSpec, start: Start, images: Dataset, resume: bool = False) -> adapt.Training:
    home = spec.repository / spec.name
    with checkpoints.keep(home, checkpoints.describe_request(spec), resume) as kept:
        return adapt.adapt(spec, start, images, kept, Progress())


def test_fine_tuning_tells_of_both_phases_and_leaves_frozen_layers_alone(tmp_path: Path) -> None:
    start = begin(known=4)
    before = {layer.name: layer.get_weights() for layer in start.model.layers if layer.weights}
    spec = ask(tmp_path, "given.keras", strategy="fine_tune", unfreeze="1", patience=2, dropout=0.2, weight_decay=0.01)
    done = run(spec, start, dataset())
    probe, fine = done.phases
    assert [each["frozen_layers"] for each in done.phases] == [4, 3]
    assert probe["trainable_parameters"] == 84 * 3 + 3
    assert fine["trainable_parameters"] == 84 * 3 + 3 + 120 * 84 + 84
    assert probe["accuracy"] is not None and fine["accuracy"] is None
    assert done.add_accuracy(0.5).phases[1]["accuracy"] == 0.5
    assert len(fine["history"]["val_loss"]) == fine["epochs"] >= fine["best_epoch"]
    for name, weights in before.items():
        now = start.model.get_layer(name).get_weights()
        same = all(np.array_equal(one, other) for one, other in zip(weights, now, strict=True))
        assert same == (name in ("c1", "c3", "c5")), name
    assert not spec.repository.exists()


def test_an_interrupted_run_does_not_repeat_what_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ask(tmp_path, "given.keras", strategy="fine_tune", patience=1)
    whole = adapt._run

    def interrupt(spec: Any, options: Any, model: Any, phase: Any, *rest: Any, **more: Any) -> Any:
        if not phase.cached:
            raise KeyboardInterrupt
        return whole(spec, options, model, phase, *rest, **more)

    first, second = begin(known=4), begin(known=4)
    monkeypatch.setattr(adapt, "_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(spec, first, dataset())
    ran: list[str] = []

    def listen(spec: Any, options: Any, model: Any, phase: Any, *rest: Any, **more: Any) -> Any:
        ran.append(phase.title)
        return whole(spec, options, model, phase, *rest, **more)

    monkeypatch.setattr(adapt, "_run", listen)
    done = run(spec, second, dataset(), resume=True)
    assert ran == ["fine-tuning"]
    assert [each["title"] for each in done.phases] == ["training a new head on the network's features", "fine-tuning"]
    with pytest.raises(UsageError, match="--resume: no interrupted training lies in"):
        run(spec, second, dataset(), resume=True)


def test_a_run_goes_on_only_as_it_began(tmp_path: Path) -> None:
    spec = ask(tmp_path)
    home = spec.repository / spec.name
    with pytest.raises(KeyboardInterrupt), checkpoints.keep(home, checkpoints.describe_request(spec), False):
        raise KeyboardInterrupt
    assert "--resume would go on with it" in checkpoints.describe_interrupted(home)
    other = replace(spec, seed=1)
    with (
        pytest.raises(UsageError, match=r"had seed 0, and this one has 1; give the same arguments"),
        checkpoints.keep(home, checkpoints.describe_request(other), True),
    ):
        pass
    with (
        pytest.raises(ExportError, match="no use"),
        checkpoints.keep(home, checkpoints.describe_request(spec), True),
    ):
        raise ExportError("no use")
    assert not (home / checkpoints.FOLDER).exists()


@pytest.mark.parametrize(
    ("per_class", "probe", "strategy", "unfreeze"),
    [
        (20, 0.9, "linear_probe", None),
        (900, 0.9, "fine_tune", "0.4"),
        (20, 0.4, "fine_tune", "0.6"),
        (900, 0.4, "fine_tune", "all"),
    ],
)
def test_four_scenarios_have_a_strategy_each(per_class: int, probe: float, strategy: str, unfreeze: str | None) -> None:
    decision = auto.choose(per_class, probe, 0.5, 21, 9)
    assert (decision.strategy, decision.unfreeze) == (strategy, unfreeze)
    assert f"gets {probe:.2f} of 9 others right, and the network from scratch 0.50" in decision.why


def test_weights_fit_where_the_head_leaves_nothing_to_learn() -> None:
    """Though from scratch all of them are answered right too."""
    assert auto.choose(20, 1.0, 1.0, 21, 9).strategy == "linear_probe"
    assert auto.choose(20, 0.8, 0.8, 21, 9).strategy == "fine_tune"


@pytest.mark.slow
def test_auto_tells_weights_that_fit_from_those_that_know_nothing(tmp_path: Path) -> None:
    """A network that has learned six bars, and one whose features are the same for every image."""
    taught = begin(classes=6)
    run(ask(tmp_path, patience=0), taught, dataset(240, 6))
    found = {}
    for spoiled in (False, True):
        start = begin(known=4)
        for mine, theirs in zip(start.known, (layer for layer in taught.model.layers if layer.weights), strict=False):
            mine.set_weights([weight * (0 if spoiled else 1) for weight in theirs.get_weights()])
        head = start.model.layers[-1].get_weights()
        stage = Stage("test", lambda text: None)
        found[spoiled] = auto.decide(start.model, start.known, LENET, bars(30, 3), 3, 0, stage)
        for mine, kept in zip(start.model.layers[-1].get_weights(), head, strict=True):
            np.testing.assert_array_equal(mine, kept)
    assert found[True].strategy == "fine_tune"
    told = "10 images a class are few, and the weights fit them: in a trial with 21 images to learn from, a new head"
    assert told in found[False].why


def test_a_trial_that_has_no_time_left_takes_a_batch_of_images_of_every_class_and_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Recorder(Stage):
        def advance(self, done: int, total: int, note: str = "") -> None:
            told.append((done, total, note))

    told: list[tuple[int, int, str]] = []
    monkeypatch.setattr(auto, "_SECONDS", 0.0)
    start = begin(known=4)
    found = auto.decide(start.model, start.known, LENET, bars(90, 3), 3, 0, Recorder("test", lambda text: None))
    assert "in a trial with 32 images to learn from, a new head" in found.why
    assert "of 30 others right" in found.why
    assert [each for each in told if "held-out" not in each[2]] == [
        (30, 30, "images' features"),
        (32, 60, "images' features"),
        (1, 60, "steps of a trial from scratch"),
    ]
    learn, _ = auto._draw(bars(90, 3), 0)
    assert np.bincount(learn.classes[:32]).min() >= 10


def test_weights_for_other_labels_get_a_new_last_layer_or_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "1" / "assets.extra" / "network.keras"
    (tmp_path / "1" / "assets").mkdir(parents=True)
    (tmp_path / "1" / "assets" / "labels.txt").write_text("cat\ndog\nfox\n")
    start = begin(known=5)
    assert labels.check_labels(start, str(file), ("cat", "dog", "fox"), "none") == start
    assert labels.check_labels(start, str(tmp_path / "mine.keras"), ("a", "b", "c"), "none") == start
    changed = labels.check_labels(start, str(file), ("dog", "cat", "fox"), "auto")
    assert [layer.name for layer in changed.known] == ["c1", "c3", "c5", "f6"]
    assert "(cat, dog, fox) are not those of the images (dog, cat, fox)" in changed.warnings[0]
    with pytest.raises(ExportError, match="--strategy none trains nothing"):
        labels.check_labels(start, str(file), ("dog", "cat", "fox"), "none")


def test_a_run_goes_on_only_with_the_images_it_began_with(tmp_path: Path) -> None:
    """Other images are divided otherwise: what it was trained on would be measured on."""
    spec = ask(tmp_path)
    home, request = spec.repository / spec.name, checkpoints.describe_request(spec)
    with pytest.raises(KeyboardInterrupt), checkpoints.keep(home, request, False) as kept:
        kept.check_images("these")
        raise KeyboardInterrupt
    with (
        pytest.raises(UsageError, match="the images are not those of the interrupted training"),
        checkpoints.keep(home, request, True) as kept,
    ):
        kept.check_images("others")
    with checkpoints.keep(home, request, True) as kept:
        kept.check_images("these")
    strong = replace(spec, data_options=DataOptions("strong"))
    assert checkpoints.describe_request(strong)["augment"] == "strong" != request["augment"]


def test_a_second_export_leaves_a_running_one_alone(tmp_path: Path) -> None:
    spec = ask(tmp_path)
    home, request = spec.repository / spec.name, checkpoints.describe_request(spec)
    with checkpoints.keep(home, request, False) as kept:
        kept.keep_decision({"strategy": "full"})
        for resume in (False, True):
            with (
                pytest.raises(UsageError, match=r"another export of bars trains in .*models"),
                checkpoints.keep(home, request, resume),
            ):
                pass
        assert checkpoints.describe_interrupted(home) == ""
        assert kept.folder.is_dir() and kept.open_phase(0).is_dir()
    assert not home.exists()
    with checkpoints.keep(home, request, False):
        pass


@pytest.mark.parametrize("state", ["", "{}", "[]", "3", '{"request": 3}', "null"])
def test_what_is_no_state_of_a_run_is_not_gone_on_with(tmp_path: Path, state: str) -> None:
    (tmp_path / "bars" / checkpoints.FOLDER).mkdir(parents=True)
    (tmp_path / "bars" / checkpoints.FOLDER / "state.json").write_text(state)
    with (
        pytest.raises(UsageError, match="no interrupted training lies in"),
        checkpoints.keep(tmp_path / "bars", {}, True),
    ):
        pass
