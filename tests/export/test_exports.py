"""Exports as people run them: their own photos, their own weights, no network, and things that go wrong."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from export import pipeline
from export.__main__ import parse
from export.architectures import ARCHITECTURES
from export.architectures.costs import COSTS
from export.convert import freeze, litert
from export.errors import ExportError
from export.progress import Progress
from export.spec import ExportSpec
from service.repository.manifest import SAMPLES, Manifest
from tests.support.exporter import ROOT, run_export
from tests.support.exporter import export as run_to_end
from tests.support.images import photo

LENET = ARCHITECTURES["lenet5"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of JPEGs of many sizes: the photograph's upper and lower halves, cut at random."""
    generator = np.random.default_rng(0)
    pixels = photo()
    for label, top in (("sky", 0), ("a lake", 230)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(30):
            x, y = int(generator.integers(0, 400)), top + int(generator.integers(0, 40))
            height, width = generator.integers(60, 150, 2)
            Image.fromarray(pixels[y : y + height, x : x + width]).save(tmp_path / "photos" / label / f"{index}.jpg")
    return tmp_path / "photos"


def manifest(repository: Path, name: str, version: int = 1) -> Manifest:
    read = Manifest.read(repository / name / str(version), name, version)
    assert read is not None
    return read


def small(repository: Path, *arguments: str) -> ExportSpec:
    specs = parse(["--model", "lenet5", "--epochs", "1", "--repository", str(repository), *arguments])
    assert specs is not None
    return specs[0]


@pytest.mark.slow
def test_a_folder_of_photos_becomes_a_model(photos: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    said = run_to_end(
        *("--model", "mobilenet_v3_small", "--data", photos, "--name", "lakes", "--repository", repository),
        *("--image-size", 32, "--epochs", 1, "--batch-size", 16, "--force"),
    )
    made = manifest(repository, "lakes")
    assert made.labels == ("a lake", "sky")
    assert made.facts["dataset"] == {"name": "photos", "classes": 2, "train": 43, "validation": 5, "held_out": 12}
    assert (made.name, made.architecture) == ("lakes", "mobilenet_v3_small")
    assert 0 < made.facts["macs"] < COSTS["mobilenet_v3_small"].macs / 20, "of 32 pixels, not of 224"
    samples = sorted(file.name for file in (repository / "lakes" / "1" / SAMPLES).iterdir())
    assert len(samples) == 10
    assert samples[0] == "a_lake-0.png"
    assert f"python -m service --repository {repository}" in said
    assert "/predict/lakes" in said


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_from_a_file_are_exported_untouched(tmp_path: Path, suffix: str) -> None:
    trained = LENET.build(LENET.shape(28), 10)
    weights = tmp_path / f"mine{suffix}"
    (trained.save if suffix == ".keras" else trained.save_weights)(weights)
    spec = small(tmp_path / "models", "--epochs", "0", "--weights", str(weights), "--data", "digits", "--force")
    done = pipeline.export(spec, Progress())
    with np.load(done.folder / "assets.extra" / "golden.npz") as golden:
        tensor = golden["images"].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        wanted = trained(tensor[..., np.newaxis] * 0.005 - 0.1, training=False)
        np.testing.assert_allclose(golden["probabilities"], wanted, atol=1e-5)


@pytest.mark.slow
def test_training_goes_on_from_a_file_with_other_classes(photos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "digits.keras"
    LENET.build(LENET.shape(28), 10).save(weights)
    spec = small(tmp_path / "models", "--epochs", "3", "--weights", str(weights), "--data", str(photos), "--force")
    assert pipeline.export(spec, Progress()).version == 1


@pytest.mark.slow
def test_a_network_that_guesses_is_published_by_force_and_with_a_warning_only(tmp_path: Path) -> None:
    weights = tmp_path / "random.keras"
    keras.utils.set_random_seed(0)
    LENET.build(LENET.shape(28), 10).save(weights)
    asked = (
        *("--model", "lenet5", "--weights", weights, "--data", "digits", "--epochs", 0),
        *("--repository", tmp_path / "models"),
    )
    ended = run_export(*asked)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("export: refused to publish: the network is not shown to be better than guessing: 0.")
    assert last.endswith("--epochs trains it on these images, or publish it all the same with --force")
    assert not (tmp_path / "models").exists()
    said = run_to_end(*asked, "--force")
    (warning,) = manifest(tmp_path / "models", "lenet5").facts["warnings"]
    assert warning.startswith("the network is not shown to be better than guessing: 0.")
    assert f"warning     {warning}" in said


@pytest.mark.slow
def test_another_network_than_asked_for_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.keras"
    image = keras.layers.Input((28, 28, 1))
    x = keras.layers.MaxPooling2D(2)(keras.layers.Conv2D(6, 5, padding="same", activation="relu")(image))
    x = keras.layers.MaxPooling2D(2)(keras.layers.Conv2D(16, 5, activation="relu")(x))
    x = keras.layers.Dense(84, "relu")(keras.layers.Dense(120, "relu")(keras.layers.Flatten()(x)))
    keras.Model(image, keras.layers.Dense(10, "softmax")(x)).save(file)
    ended = run_export("--model", "lenet5", "--weights", file, "--data", "digits", "--repository", tmp_path / "models")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"export: {file} is another network than lenet5: ")
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_stale_statistics_of_a_frozen_donor_are_re_estimated_or_said_to_be_wrong(tmp_path: Path) -> None:
    """A donor that is right in training and wrong in use: its moving averages never caught up."""
    row = ARCHITECTURES["mobilenet_v3_small"]

    def export(classes: int, epochs: int) -> tuple[str, ...]:
        model = row.build(row.shape(32), classes)
        file, repository = tmp_path / f"{classes}.keras", tmp_path / f"models{classes}"
        model.save(file)
        specs = parse(
            [
                *(
                    "--model",
                    row.name,
                    "--weights",
                    str(file),
                    "--data",
                    "digits",
                    "--image-size",
                    "32",
                    "--epochs",
                    str(epochs),
                ),
                *("--repository", str(repository), "--force"),
            ]
        )
        assert specs is not None
        return pipeline.export(specs[0], Progress()).warnings

    assert any(each.endswith("nats) and were re-estimated") for each in export(classes=7, epochs=2))
    assert any(each.endswith("answers may be wrong; --epochs 1 re-estimates them") for each in export(10, epochs=0))


@pytest.mark.slow
def test_broken_images_are_listed_before_anything_is_trained(photos: Path, tmp_path: Path) -> None:
    for name in ("sky/5.jpg", "a lake/7.jpg"):
        (photos / name).write_text("not an image")
    ended = run_export("--model", "lenet5", "--data", photos, "--repository", tmp_path / "models")
    assert ended.returncode == 1
    head, *listed = ended.stderr.splitlines()[-3:]
    assert head == "export: 2 of 60 images cannot be used; mend or remove them:"
    assert [line.split(": ")[0].strip() for line in listed] == [f"{photos}/a lake/7.jpg", f"{photos}/sky/5.jpg"]
    assert "training" not in ended.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_names_in_any_encoding_reach_the_manifest(photos: Path, tmp_path: Path) -> None:
    root = os.fsdecode(os.fsencode(tmp_path) + b"/photos\xe9")
    photos.rename(root)
    (Path(root) / "sky" / "0.jpg").rename(Path(root) / "sky" / os.fsdecode(b"caf\xe9.JPE"))
    specs = parse(
        ["--model", "lenet5", "--epochs", "1", "--force", "--repository", str(tmp_path / "m"), "--data", root]
    )
    assert specs is not None
    pipeline.export(specs[0], Progress())
    assert manifest(tmp_path / "m", "lenet5").facts["dataset"]["name"] == "photos\\xe9"


@pytest.mark.slow
def test_nothing_but_progress_on_stderr_and_the_summary_on_stdout(tmp_path: Path) -> None:
    ended = run_export("--model", "lenet5", "--epochs", 1, "--repository", tmp_path)
    assert ended.returncode == 0
    stages = (
        "importing|reading|building|training|evaluating|freezing|converting|checking|computing|writing|measuring|"
        "publishing"
    )
    counted = r"[0-9]+/[0-9]+ [a-z]"  # on a slow machine
    known = re.compile(
        rf"({stages})[: ]|  (epoch|about|training:|--strategy|[0-9.,]+ MB) |  {counted}|lenet5 from digits|$"
    )
    assert [line for line in ended.stderr.splitlines() if not known.match(line)] == []
    assert len(ended.stdout.splitlines()) < 20
    assert str(tmp_path / "lenet5" / "1") in ended.stdout


@pytest.mark.slow
def test_a_saved_model_unlike_the_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = freeze.write_saved_model

    def tampered(folder: Path, model: Any, *rest: Any) -> None:
        other = keras.models.clone_model(model)  # same layers, other random weights
        write(folder, other, *rest)

    monkeypatch.setattr(freeze, "write_saved_model", tampered)
    with pytest.raises(ExportError, match="refused to publish: SavedModel serving_default differs"):
        pipeline.export(small(tmp_path / "models"), Progress())
    assert not list((tmp_path / "models").rglob("*"))


@pytest.mark.slow
def test_a_tflite_unlike_the_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = litert.convert

    def tampered(saved_model: Path, target: Path) -> None:
        convert(saved_model, target)
        words = np.frombuffer(target.read_bytes(), "<f4").copy()
        middle = slice(len(words) // 2, len(words) // 2 + 2000)  # most of the file is the weights of one layer
        words[middle] *= 3
        target.write_bytes(words.tobytes())

    monkeypatch.setattr(litert, "convert", tampered)
    with pytest.raises(ExportError, match="refused to publish: LiteRT image differs"):
        pipeline.export(small(tmp_path / "models"), Progress())
    assert not list((tmp_path / "models").rglob("*"))


@pytest.mark.slow
def test_labels_unlike_the_graphs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = freeze.write_saved_model

    def tampered(folder: Path, model: Any, architecture: Any, size: int, labels: tuple[str, ...]) -> None:
        write(folder, model, architecture, size, labels[::-1])

    monkeypatch.setattr(freeze, "write_saved_model", tampered)
    with pytest.raises(ExportError, match="other classes"):
        pipeline.export(small(tmp_path / "models"), Progress())


def test_a_repository_nobody_may_write_is_refused_before_training(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o555)
    with pytest.raises(ExportError, match="can be written"):
        dataclasses.replace(small(tmp_path))


@pytest.mark.slow
def test_the_same_seed_gives_nearly_the_same_network(tmp_path: Path) -> None:
    one, two = (pipeline.export(small(tmp_path, "--seed", "7"), Progress()) for _ in range(2))
    assert (one.version, two.version) == (1, 2)
    assert one.score is not None and two.score is not None
    assert one.score.accuracy == pytest.approx(two.score.accuracy, abs=0.03)


@pytest.mark.slow
def test_imagenet_without_a_network_is_one_line(tmp_path: Path) -> None:
    nowhere = {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path / "keras")}
    ended = run_export(
        *("--model", "mobilenet_v3_small", "--weights", "imagenet", "--repository", tmp_path / "models"),
        env=nowhere,
    )
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("export: ImageNet weights for mobilenet_v3_small could not be downloaded")
    assert "--weights none" in last
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_a_killed_training_goes_on_where_it_was(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    asked = [*("--model", "lenet5", "--epochs", "9", "--patience", "0"), *("--repository", str(repository))]
    command = [sys.executable, "-m", "export", *asked]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as killed:
        assert killed.stderr is not None
        assert any(line.startswith("  epoch 3/9") for line in killed.stderr)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert not (repository / "lenet5" / "1").exists()
    other = run_export(*asked, "--learning-rate", 0.1, "--resume")
    assert other.returncode == 2
    assert "had learning_rate 0.004, and this one has 0.1; give the same arguments" in other.stderr
    ended = run_export(*asked, "--resume")
    assert ended.returncode == 0, ended.stderr
    resumed = re.search(r"resuming after epoch (\d)", ended.stderr)
    assert resumed is not None
    assert re.findall(r"  epoch (\d)/9", ended.stderr) == [str(epoch) for epoch in range(int(resumed[1]) + 1, 10)]
    training = manifest(repository, "lenet5").facts["training"]
    (phase,) = training["phases"]
    assert training["epochs"] == phase["epochs"] == 9
    assert {len(numbers) for numbers in phase["history"].values()} == {9}
    assert phase["accuracy"] > 0.9
    assert [entry.name for entry in (repository / "lenet5").iterdir()] == ["1"]
    assert "no interrupted training lies in" in run_export(*asked, "--resume").stderr


@pytest.mark.slow
def test_a_published_network_is_weights_for_the_next(photos: Path, tmp_path: Path) -> None:
    first = pipeline.export(small(tmp_path / "models", "--epochs", "3"), Progress())
    file = first.folder / "assets.extra" / "network.keras"
    network = keras.saving.load_model(file)  # without any code of ours
    with np.load(first.folder / "assets.extra" / "golden.npz") as golden:
        tensor = golden["images"].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        answers = network.predict(tensor[..., np.newaxis] * 0.005 - 0.1, verbose=0)
        np.testing.assert_allclose(answers, golden["probabilities"], atol=1e-5)
    kept = pipeline.export(
        small(tmp_path / "again", "--epochs", "0", "--weights", str(file), "--data", "digits"), Progress()
    )
    assert kept.training.strategy == "none"
    assert manifest(tmp_path / "again", "lenet5").facts["training"]["epochs"] == 0
    assert kept.score is not None and kept.score == first.score
    asked = ("--weights", str(file), "--data", str(photos), "--strategy", "fine_tune", "--unfreeze", "2", "--force")
    adapted = pipeline.export(small(tmp_path / "adapted", *asked), Progress())
    training = manifest(tmp_path / "adapted", "lenet5").facts["training"]
    probe, fine = training["phases"]
    assert training["epochs"] == probe["epochs"] + fine["epochs"]
    assert (probe["frozen_layers"], fine["frozen_layers"]) == (4, 2)
    assert probe["trainable_parameters"] == 84 * 2 + 2
    assert probe["accuracy"] is not None
    assert adapted.score is not None
    assert fine["accuracy"] == pytest.approx(adapted.score.accuracy, abs=1e-6)
