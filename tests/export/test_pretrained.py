"""Pretrained networks published as they are: what may be asked, names, checks, and the version that comes of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from export import pipeline
from export.__main__ import parse
from export.architectures import ARCHITECTURES
from export.data import photographs, pixels
from export.data.dataset import Dataset
from export.errors import ExportError, UsageError
from export.pretrained import check, names
from export.pretrained.options import AsIs
from export.progress import Progress, Stage
from export.quantize.evaluate import Judge
from export.spec import ExportSpec
from export.training import weights
from service.repository.manifest import GOLDEN, LABELS, SAMPLES, Manifest
from tests.support.exporter import run_export
from tests.support.images import photo

LENET, LITE = ARCHITECTURES["lenet5"], ARCHITECTURES["efficientnet_lite0"]
SILENT = Stage("test", lambda text: None)
SEVEN = ("one", "two", "three", "four", "five", "six", "seven")


def ask(*arguments: object) -> ExportSpec:
    specs = parse(list(map(str, arguments)))
    assert specs is not None
    return specs[0]


def save(path: Path, classes: int = 7) -> Path:
    keras.utils.set_random_seed(3)
    model = LENET.build(LENET.shape(28), classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    (model.save if path.suffix == ".keras" else model.save_weights)(path)
    return path


@pytest.fixture(scope="module")
def crops() -> Dataset:
    return photographs.load("", SEVEN, 28, SILENT)


def test_weights_without_data_are_published_as_they_are() -> None:
    spec = ask("--model", "efficientnet_lite0", "--weights", "imagenet")
    assert spec.as_is == AsIs(labels="", calibration="", min_agreement=0.9)
    assert spec.recipe.epochs == 0
    assert ask("--model", "lenet5").as_is is None
    assert ask("--model", "efficientnet_lite0", "--weights", "imagenet", "--data", "digits").as_is is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--weights", "imagenet", "--epochs", "3"],
            "--epochs trains, and there is nothing to learn from: give --data",
        ),
        (["--weights", "imagenet", "--learning-rate", "0.1"], "--learning-rate trains, and there is nothing"),
        (["--weights", "imagenet", "--strategy", "fine_tune"], "--strategy trains, and there is nothing"),
        (["--weights", "imagenet", "--augment", "strong"], "--augment trains, and there is nothing"),
        (["--weights", "imagenet", "--resume"], "--resume trains, and there is nothing"),
        (["--weights", "imagenet", "--train-precision", "mixed_bfloat16"], "--train-precision trains, and there is"),
        (
            ["--weights", "imagenet", "--quantize", "--max-accuracy-drop", "0.1"],
            "--max-accuracy-drop needs images with",
        ),
        (["--weights", "imagenet", "--max-accuracy-drop", "0.005"], "there are none: give --min-agreement"),
        (["--weights", "imagenet", "--report", "full"], "--report full needs images with labels, and there are none"),
        (["--labels", "x.txt"], "--labels is for a pretrained network that is published as it is"),
        (["--min-agreement", "0.8"], "--min-agreement is for a pretrained network"),
        (["--weights", "imagenet", "--data", "digits", "--calibration", "."], "--calibration is for a pretrained"),
        (["--weights", "imagenet", "--labels", "no.txt"], "Invalid --labels 'no.txt': expected a text file"),
        (["--weights", "imagenet", "--calibration", "no"], "Invalid --calibration no: expected a folder of images"),
        (["--weights", "imagenet", "--calibration", "service"], "expected at least 8 images in it, got 0"),
        (["--weights", "imagenet", "--min-agreement", "90"], "Invalid --min-agreement 90.0: expected a share"),
    ],
)
def test_flags_that_contradict_each_other_are_refused_in_one_line(arguments: list[str], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        ask("--model", "efficientnet_lite0", *arguments)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
@pytest.mark.parametrize("network", ["lenet5", "efficientnet_lite0", "mobilenet_v3_small"])
def test_a_file_tells_how_many_classes_its_network_has(tmp_path: Path, name: str, network: str) -> None:
    row = ARCHITECTURES[network]
    model = row.build(row.shape(row.smallest_size), 7)
    (model.save if name == "m.keras" else model.save_weights)(tmp_path / name)
    assert weights.count_classes(row, row.smallest_size, str(tmp_path / name)) == 7


def test_a_file_of_another_network_has_no_classes(tmp_path: Path) -> None:
    path = save(tmp_path / "m.weights.h5")
    with pytest.raises(ExportError, match=r"m\.weights\.h5 is of another network than mobilenet_v3_small"):
        weights.count_classes(ARCHITECTURES["mobilenet_v3_small"], 32, str(path))


def test_names_are_the_files_the_versions_or_imagenets(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(SEVEN) + "\n")
    assert names.find(LITE, "imagenet", 7, str(tmp_path / "names.txt")) == (SEVEN, ())
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(SEVEN).encode())
    assert names.find(LITE, "imagenet", 7, str(tmp_path / "names.txt")) == (SEVEN, ()), "as Windows' editors write it"
    assert names.find(LITE, "imagenet", 1000, "")[0][967] == "espresso"
    version = tmp_path / "models" / "mine" / "1"
    (version / LABELS).parent.mkdir(parents=True)
    (version / LABELS).write_text("\n".join(SEVEN) + "\n")
    assert names.find(LITE, str(version / "assets.extra" / "network.keras"), 7, "") == (SEVEN, ())
    found, (warning,) = names.find(LITE, "mine.keras", 1000, "")
    assert found[967] == "espresso" and "they get ImageNet's names" in warning
    with pytest.raises(ExportError, match=r"mine\.keras does not name its 7 classes: give --labels FILE"):
        names.find(LITE, "mine.keras", 7, "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"a\nb\n", "has 2 lines, and the network has 3 classes"),
        (b"a\nb\nc\n\n", "has 4 lines, and the network has 3 classes"),
        (b"a\n\nc\n", "line 2 of .* is empty"),
        (b"a\nb\na\n", "has the name 'a' twice"),
        (b"a\n\xff\nc\n", "cannot be read as UTF-8 text"),
        (b"a\n\x1b[31mb\nc\n", r"has a name with a control character: '\\x1b\[31mb'"),
    ],
)
def test_a_file_of_names_that_does_not_fit_is_refused(tmp_path: Path, text: bytes, says: str) -> None:
    (tmp_path / "names.txt").write_bytes(text)
    with pytest.raises(ExportError, match=says):
        names.find(LITE, "imagenet", 3, str(tmp_path / "names.txt"))


def test_photographs_calibrate_and_check_with_other_crops(crops: Dataset) -> None:
    assert len(crops.held_out.images) >= 300 and len(crops.train.images) >= 128
    assert {*crops.held_out.classes, *crops.train.classes} == {-1}
    everything = np.concatenate([crops.held_out.images, crops.train.images])
    assert len(np.unique(everything.reshape(len(everything), -1), axis=0)) == len(everything)
    whole = [example.label for example in crops.examples]
    assert whole[:2] == ["coffee", "chelsea"]
    again = photographs.load("", SEVEN, 28, SILENT)
    np.testing.assert_array_equal(crops.held_out.images, again.held_out.images)


def test_a_folder_calibrates_with_every_second_image(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for index in range(9):
        Image.fromarray(photo()[index * 8 :, :100]).save(tmp_path / ("deep" if index % 2 else ".") / f"{index}.png")
    (tmp_path / "notes.txt").write_text("no image")
    found = photographs.load(str(tmp_path), SEVEN, 28, SILENT)
    assert (len(found.train.images), len(found.held_out.images)) == (4, 5)
    assert found.labels == SEVEN


class Network:
    """Answers every image with the same probabilities, or with those of a trained network."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, tensor: Any, training: bool) -> Any:
        return SimpleNamespace(numpy=lambda: np.broadcast_to(self.answer, (len(tensor), 2)))


def test_a_network_that_does_not_look_is_refused(crops: Dataset) -> None:
    with pytest.raises(ExportError, match="gives 16 different images one and the same answer; was it trained"):
        check.judge(Network([0.5, 0.5]), LENET, crops, force=False)
    (warning,) = check.judge(Network([0.5, 0.5]), LENET, crops, force=True)
    assert warning.endswith("one and the same answer")
    with pytest.raises(ExportError, match="NaN"):
        check.judge(Network([np.nan, 0.5]), LENET, crops, force=True)
    assert check.judge(LENET.build(LENET.shape(28), 7), LENET, crops, force=False) == ()


def test_forms_of_an_unmeasured_network_are_judged_by_agreement(crops: Dataset) -> None:
    wanted = np.eye(7, dtype=np.float32)[np.arange(len(crops.held_out.classes)) % 7]
    places = {image.tobytes(): place for place, image in enumerate(np.asarray(crops.held_out.images))}

    def answer(images: Any, given: Any) -> Any:
        return given[[places[image.tobytes()] for image in images]]

    def ask_wanted(images: Any) -> Any:
        return answer(images, wanted)

    judge = Judge(crops, 0.1, ask_wanted)
    given = wanted.copy()
    given[:40] = np.roll(wanted[:40], 1, axis=1)
    quality = judge.examine("lossy", lambda images: answer(images, given), lambda images: "", whole=True)
    share = 1 - 40 / len(wanted)
    assert (quality.accuracy, dict(quality.by_class), quality.worst) == (None, {}, "")
    assert quality.agreement == pytest.approx(share, abs=0.01)
    found = f"agrees with float32 on {quality.agreement:.4f} of {quality.images} images (at least 0.9)"
    assert quality.refused == found and 250 < quality.images < len(wanted), (
        "that is close, and certain ahead of the end"
    )
    given[40:160] = np.roll(wanted[40:160], 1, axis=1)
    quality = judge.examine("worse", lambda images: answer(images, given), lambda images: "")
    assert quality.images < 100, "that much is clear soon"
    few = judge.examine("lossy", lambda images: answer(images, given), lambda images: "", most=16)
    assert (few.refused, few.images) == ("", 16), "so few images decide nothing"
    assert quality.refused.endswith(f" of {quality.images} images (at least 0.9)")
    quality = judge.examine("same", ask_wanted, lambda images: "")
    assert (quality.refused, quality.agreement) == ("", 1.0) and quality.images < 100
    assert judge.examine("same", ask_wanted, lambda images: "", whole=True).images == len(wanted)
    given[:] = np.nan
    quality = judge.examine("half", lambda images: answer(images, given), lambda images: "overflow in layer x")
    assert quality.refused == "answers NaN: overflow in layer x"
    assert "--min-agreement than 0.9" in judge.remedy
    known = replace(crops, held_out=replace(crops.held_out, classes=np.zeros_like(crops.held_out.classes)))
    assert "--max-accuracy-drop than 0.1" in Judge(known, 0.1, ask_wanted).remedy


def test_weights_that_leave_layers_random_are_refused() -> None:
    model = LENET.build(LENET.shape(28), 7)
    known = tuple(layer for layer in model.layers if layer.weights)
    check.check_complete(weights.Start(model, known), "m.keras")
    with pytest.raises(ExportError, match=r"m\.keras fits all but the last 1 layer of lenet5"):
        check.check_complete(weights.Start(model, known[:-1]), "m.keras")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_version_holds_the_network_of_the_file(tmp_path: Path, name: str) -> None:
    file = save(tmp_path / name)
    (tmp_path / "names.txt").write_text("\n".join(SEVEN))
    done = pipeline.export(
        ask(
            *("--model", "lenet5", "--weights", file, "--labels", tmp_path / "names.txt"),
            *("--repository", tmp_path / "models"),
        ),
        Progress(),
    )
    made = Manifest.read(done.folder, "lenet5", 1)
    assert made is not None
    assert made.labels == SEVEN
    assert made.facts["accuracy"] is made.facts["worst_class"] is made.facts["published_accuracy"] is None
    assert made.facts["training"]["epochs"] == 0
    assert made.facts["dataset"] == {"name": "photographs", "classes": 7, "calibration": 128, "checked": 312}
    assert (done.folder / SAMPLES / "coffee-0.png").is_file()
    network = LENET.build(LENET.shape(28), 7)
    network.load_weights(file) if name == "m.weights.h5" else network.set_weights(
        keras.saving.load_model(file).get_weights()
    )
    with np.load(done.folder / GOLDEN) as golden:
        wanted = network.predict(pixels.to_tensor(golden["images"], LENET), verbose=0)
        np.testing.assert_allclose(golden["probabilities"], wanted, atol=1e-4)


@pytest.mark.slow
def test_a_file_without_names_is_one_line(tmp_path: Path) -> None:
    file = save(tmp_path / "m.keras")
    ended = run_export("--model", "lenet5", "--weights", file, "--repository", tmp_path / "models")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"export: {file} does not name its 7 classes: give --labels FILE")
    assert not (tmp_path / "models").exists()
