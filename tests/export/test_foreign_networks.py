"""`--from`: networks of people's own are published as they are, or refused with the reason."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from export.__main__ import main, parse
from export.architectures.applications import CAFFE, RAW, TF, TORCH
from export.architectures.architecture import Scaling
from export.data import dataset as data
from export.data import sources
from export.data.dataset import Dataset, Split
from export.errors import ExportError, UsageError
from export.foreign import classes
from export.foreign.network import open_network
from export.foreign.options import Foreign, parse_scaling
from export.pretrained import names
from export.progress import Stage
from export.report.options import PAGE
from service.repository.manifest import GOLDEN, LABELS, Manifest
from tests.support.exporter import run_export

CUSTOM = """
import keras

@keras.saving.register_keras_serializable("mine")
class Halve(keras.layers.Layer):
    def call(self, images):
        return images / 2
"""


def network(
    *ahead: Any, size: int | None = 24, classes: int = 4, activation: str = "softmax", channels: int = 3
) -> Any:
    """A small convolution with random weights, behind the layers `ahead`."""
    keras.utils.set_random_seed(3)
    image = x = keras.layers.Input((size, size, channels))
    for layer in ahead:
        x = layer(x)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.BatchNormalization()(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, keras.layers.Dense(classes, activation, kernel_initializer="he_normal")(x))


def nested() -> Any:
    """A base network in a layer, as Keras' tutorials of transfer learning have it, with the scaling in front."""
    base = network(keras.layers.Rescaling(1 / 127.5, offset=-1), classes=16, activation="relu")
    image = keras.layers.Input((24, 24, 3))
    return keras.Model(image, keras.layers.Dense(4, "softmax")(base(image, training=False)))


def save(model: Any, folder: Path, labels: int = 4) -> Path:
    model.save(folder / "mine.keras")
    (folder / "labels.txt").write_text("".join(f"class {number}\n" for number in range(labels)))
    return folder / "mine.keras"


def test_a_layer_that_scales_pixels_is_found(tmp_path: Path) -> None:
    path = save(network(keras.layers.Rescaling(1 / 255)), tmp_path)
    opened = open_network(Foreign(path), None)
    assert (opened.row.scaling, opened.size, opened.row.classes, opened.row.channels) == (RAW, 24, 4, 3)
    assert opened.scaled_by.startswith("rescaling")


def test_it_is_found_inside_of_a_network_in_a_layer(tmp_path: Path) -> None:
    assert open_network(Foreign(save(nested(), tmp_path)), None).scaled_by.startswith("rescaling")


def test_statistics_of_pixels_are_a_scaling_and_statistics_of_shares_are_none(tmp_path: Path) -> None:
    layer = keras.layers.Normalization(mean=[120.0, 115.0, 100.0], variance=[3000.0, 3000.0, 3000.0])
    assert open_network(Foreign(save(network(layer), tmp_path)), None).scaled_by.startswith("normalization")
    small = keras.layers.Normalization(mean=[0.5, 0.5, 0.4], variance=[0.05, 0.05, 0.05])
    with pytest.raises(ExportError, match="does not scale pixels itself"):
        open_network(Foreign(save(network(small), tmp_path)), None)


def test_where_nothing_scales_pixels_it_has_to_be_said(tmp_path: Path) -> None:
    path = save(network(), tmp_path)
    with pytest.raises(ExportError, match="give --preprocessing, as it was trained"):
        open_network(Foreign(path), None)
    assert open_network(Foreign(path, parse_scaling("caffe")), None).row.scaling == CAFFE


@pytest.mark.parametrize("scaling", [CAFFE, TORCH])
def test_a_network_of_one_channel_has_one_scaling(scaling: Scaling, tmp_path: Path) -> None:
    network(channels=1).save(tmp_path / "gray.keras")
    foreign = Foreign(tmp_path / "gray.keras", scaling=scaling)
    with pytest.raises(ExportError, match=r"takes one channel, and --preprocessing .* give tf, raw or SCALE,OFFSET"):
        open_network(foreign, None)


@pytest.mark.parametrize(("text", "scale", "offset"), [("tf", TF.scale, TF.offset), ("0.5,-3", (0.5,), (-3.0,))])
def test_scalings_are_read(text: str, scale: tuple[float, ...], offset: tuple[float, ...]) -> None:
    read = parse_scaling(text)
    assert (read.scale, read.offset) == (scale, offset)


@pytest.mark.parametrize("text", ["imagenet", "1", "0,1", "nan,0", "1,2,3", ""])
def test_other_scalings_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Invalid --preprocessing: expected tf, torch, caffe, raw or SCALE,OFFSET"):
        parse_scaling(text)


def test_a_network_of_any_size_needs_one(tmp_path: Path) -> None:
    path = save(network(keras.layers.Rescaling(1 / 255), size=None), tmp_path)
    with pytest.raises(ExportError, match="give --image-size"):
        open_network(Foreign(path), None)
    assert open_network(Foreign(path), 40).size == 40


def test_a_network_of_one_size_takes_no_other(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="takes images of 24x24 pixels"):
        open_network(Foreign(save(network(keras.layers.Rescaling(1 / 255)), tmp_path)), 40)


def test_custom_layers_need_their_code(tmp_path: Path) -> None:
    scope: dict[str, Any] = {}
    exec(CUSTOM, scope)
    path = save(network(keras.layers.Rescaling(1 / 255), scope["Halve"]()), tmp_path)
    keras.saving.get_custom_objects().clear()
    with pytest.raises(ExportError, match=r"parts that Keras does not know \(mine>Halve\).*--custom-objects"):
        open_network(Foreign(path), None)
    (tmp_path / "layers_of_mine.py").write_text(CUSTOM)
    opened = open_network(Foreign(path, custom_objects=str(tmp_path / "layers_of_mine.py")), None)
    assert [type(layer).__name__ for layer in opened.model.layers].count("Halve") == 1


def test_code_that_does_not_import_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nowhere_at_all")
    with pytest.raises(ExportError, match=r"--custom-objects .* cannot be imported: No module named 'nowhere_at_all'"):
        open_network(Foreign(save(network(), tmp_path), RAW, str(tmp_path / "broken.py")), None)


def test_a_lambda_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    path = save(network(keras.layers.Lambda(lambda images: images / 255)), tmp_path)
    with pytest.raises(ExportError, match="Lambda layer, which is Python code in the file: --allow-lambda"):
        open_network(Foreign(path, RAW), None)
    assert open_network(Foreign(path, RAW, runs_code=True), None).row.classes == 4


def test_several_answers_at_once_are_no_classification(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"answers an image with shape \[1\]"):
        open_network(Foreign(save(network(classes=1, activation="sigmoid"), tmp_path), RAW), None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--from", "{folder}/none.keras"), "there is no such file or folder"),
        (("--from", "{folder}"), "expected a SavedModel, and this folder has no saved_model.pb"),
        (("--from", "{folder}/mine.h5"), "HDF5 is Keras' old format"),
        (("--from", "{folder}/mine.tflite"), "does not tell how pixels are scaled; give --preprocessing"),
        (("--from", "{folder}/mine.tflite", "--preprocessing", "tf", "--quantize"), "leave --quantize"),
        (("--from", "{folder}/mine.tflite", "--preprocessing", "tf", "--allow-lambda"), "are for .keras files"),
        (("--from", "{folder}/mine.txt"), "expected a .keras or .tflite file or the folder of a SavedModel"),
        (("--from", "{folder}/mine.keras", "--model", "lenet5"), "leave --model out"),
        (("--from", "{folder}/mine.keras", "--epochs", "3"), "leave --epochs out"),
        (("--from", "{folder}/mine.keras", "--data", "digits", "--min-agreement", "1"), "--max-accuracy-drop judges"),
        (("--from", "{folder}/mine.keras", "--data", "digits", "--max-accuracy-drop", "0"), "what --quantize makes"),
        (("--from", "{folder}/mine.keras", "--min-agreement", "0.8"), "--min-agreement judges what --quantize makes"),
        (("--from", "{folder}/mine.keras", "--preprocessing", "x"), "Invalid --preprocessing"),
        (("--model", "lenet5", "--custom-objects", "x"), "--custom-objects is for a network of your own"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said_at_once(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    for name in ("mine.h5", "mine.txt", "mine.tflite", "mine.keras"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError) as refused:
        parse([each.format(folder=tmp_path) for each in arguments])
    assert says in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("make", ["nested", "logits", "saved_model"])
def test_the_published_version_answers_as_the_network_does(
    make: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nested() if make == "nested" else network(keras.layers.Rescaling(1 / 255), activation="linear")
    path = save(model, tmp_path)
    if make == "saved_model":
        model = network(channels=1)
        model.export(tmp_path / "mine", "tf_saved_model", verbose=False)
        path = tmp_path / "mine"
    told = ["--preprocessing", "0.00392156862745098,0"] if make == "saved_model" else []
    asked = ["--from", str(path), "--labels", str(tmp_path / "labels.txt"), "--repository", str(tmp_path / "models")]
    monkeypatch.setattr("sys.argv", ["export", *asked, *told, "--force"])
    assert main() == 0, capsys.readouterr().err
    version = tmp_path / "models" / "mine" / "1"
    made = Manifest.read(version, "mine", 1)
    assert made is not None
    assert made.labels == ("class 0", "class 1", "class 2", "class 3")
    assert made.facts["accuracy"] is None
    assert made.facts["parameters"] == model.count_params()
    assert made.facts["macs"] is None, "it may have layers that nobody counts"
    assert (version / LABELS).is_file()
    with np.load(version / GOLDEN) as golden:
        images, answered = golden["images"].astype(np.float32), golden["probabilities"]
    if make == "saved_model":
        images = (images @ np.array([0.299, 0.587, 0.114], np.float32))[..., None] / 255
    wanted = model(images, training=False)
    if make == "logits":
        wanted = tf.nn.softmax(wanted)
        assert any("softmax" in each for each in made.facts["warnings"])
    np.testing.assert_allclose(answered, wanted, atol=1e-5)
    assert np.ptp(answered, axis=0).max() > 1e-3, "answers depend on the image"


@pytest.mark.slow
def test_quantized_without_labelled_images_it_is_judged_by_agreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(network(keras.layers.Rescaling(1 / 255)), tmp_path)
    asked = ["--from", str(path), "--labels", str(tmp_path / "labels.txt"), "--repository", str(tmp_path / "models")]
    monkeypatch.setattr("sys.argv", ["export", *asked, "--quantize", "int8", "--min-agreement", "0.8"])
    assert main() == 0, capsys.readouterr().err
    made = Manifest.read(tmp_path / "models" / "mine" / "1", "mine", 1)
    assert made is not None and made.precision == "int8"
    found = made.facts["quantization"]
    assert (found["min_agreement"], found["max_accuracy_drop"]) == (0.8, None)
    published = [each for each in found["candidates"] if each["verdict"] == "published"]
    assert [each["precision"] for each in published] == ["int8"], found["candidates"]
    assert published[0]["accuracy"] is None and 0.8 <= published[0]["agreement_with_float32"] <= 1


@pytest.mark.slow
def test_labelled_images_measure_it_by_the_names_of_its_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Digits, by a network whose outputs are numbered from 9 down."""
    digits = data.load(sources.digits(), 16, Stage("reading", lambda text: None))
    flat = np.asarray(digits.train.images).reshape(len(digits.train.classes), -1) / 255
    fitted = LogisticRegression(max_iter=200).fit(flat, digits.train.classes)
    image = keras.layers.Input((16, 16, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Dense(10, "softmax")(x))
    model.layers[-1].set_weights([fitted.coef_[::-1].T, fitted.intercept_[::-1]])
    path = save(model, tmp_path)
    labels = tmp_path / "down.txt"
    labels.write_text("".join(f"{number}\n" for number in range(9, -1, -1)))
    asked = ["--from", str(path), "--data", "digits", "--labels", str(labels), "--quantize", "dynamic"]
    monkeypatch.setattr("sys.argv", ["export", *asked, "--repository", str(tmp_path / "models")])
    assert main() == 0, capsys.readouterr().err
    version = tmp_path / "models" / "mine" / "1"
    made = Manifest.read(version, "mine", 1)
    assert made is not None and made.labels[0] == "9"
    seen = np.asarray(digits.held_out.images).reshape(len(digits.held_out.classes), -1) / 255
    wanted = fitted.score(seen, digits.held_out.classes)
    assert made.facts["accuracy"] == pytest.approx(wanted, abs=0.005), "of the quantized form"
    assert made.facts["quantization"]["candidates"][0]["accuracy"] == pytest.approx(wanted, abs=1e-3)
    assert made.facts["training"]["phases"] == []
    assert (version / PAGE).is_file() and made.temperature is not None
    np.testing.assert_allclose(keras.saving.load_model(path).get_weights()[0], fitted.coef_[::-1].T, atol=1e-6)


def test_classes_are_numbered_as_the_network_has_them() -> None:
    splits = [Split(np.zeros((3, 1, 1, 3), np.uint8), np.array(each, np.int32)) for each in ([0, 1, 1], [1, 0, 0])]
    found = Dataset("pets", ("cat", "dog"), splits[0], splits[1], splits[1], ())
    moved = classes.renumber(found, ("eel", "dog", "cat"))
    assert moved.labels == ("eel", "dog", "cat")
    assert (moved.train.classes.tolist(), moved.held_out.classes.tolist()) == ([2, 1, 1], [1, 2, 2])
    with pytest.raises(ExportError, match="the network has no class 'dog', as pets has; its classes are 'cat', 'eel'"):
        classes.renumber(found, ("cat", "eel"))


def test_without_names_the_classes_are_those_of_the_folders_where_as_many(tmp_path: Path) -> None:
    row = Foreign(save(network(), tmp_path), RAW).describe()
    found, warnings = names.find(row, "mine.keras", 2, "", ("cat", "dog"))
    assert found == ("cat", "dog") and "in alphabetical order; --labels FILE gives others" in warnings[0]
    with pytest.raises(ExportError, match="does not name its 4 classes"):
        names.find(row, "mine.keras", 4, "", ("cat", "dog"))


@pytest.mark.slow
def test_classes_without_names_are_one_line(tmp_path: Path) -> None:
    path = save(network(keras.layers.Rescaling(1 / 255)), tmp_path)
    ended = run_export("--from", path, "--repository", tmp_path / "models")
    assert ended.returncode == 1
    assert "does not name its 4 classes: give --labels FILE" in ended.stderr.splitlines()[-1]
    assert not (tmp_path / "models").exists()


class Fixed(tf.Module):  # type: ignore[misc]  # TensorFlow is untyped
    def __init__(self, shape: list[int | None], takes: Any, answers: Any) -> None:
        super().__init__()
        self.call = tf.function(
            lambda images: {"answers": tf.cast(tf.reduce_mean(tf.cast(images, tf.float32), [1, 2]), answers)},
            input_signature=[tf.TensorSpec(shape, takes)],
        )


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Fixed([1, 8, 8, 3], tf.float32, tf.float32), "takes exactly 1 image at once"),
        (Fixed([None, 8, 8, 3], tf.float32, tf.int32), "takes float32 and answers int32; a classifier takes numbers"),
        (Fixed([None, 8, 8, 3], tf.bool, tf.float32), "takes bool and answers float32"),
        (Fixed([None, 8, 8, None], tf.float32, tf.float32), "to one output: it takes shape"),
    ],
)
def test_a_saved_model_that_cannot_be_asked_for_a_batch_is_refused(module: Any, says: str, tmp_path: Path) -> None:
    tf.saved_model.save(module, str(tmp_path / "mine"), signatures={"serving_default": module.call})
    with pytest.raises(ExportError) as refused:
        open_network(Foreign(tmp_path / "mine", RAW), None)
    assert says in str(refused.value)


def test_a_network_of_one_batch_size_is_refused(tmp_path: Path) -> None:
    image = keras.layers.Input((8, 8, 3), batch_size=4)
    path = save(keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(image))), tmp_path)
    with pytest.raises(ExportError, match="takes exactly 4 images at once"):
        open_network(Foreign(path, RAW), None)
