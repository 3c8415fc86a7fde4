"""Files of weights: a network is taken for what it is, and every other file is said to be what it is."""

import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from export.architectures import ARCHITECTURES
from export.errors import ExportError
from export.training import weights
from export.training.configuration import read_layers
from export.training.options import NONE, TrainingOptions
from export.training.phases import plan

LENET = ARCHITECTURES["lenet5"]


def lenet(
    *,
    activation: str = "tanh",
    pooling: Any = layers.AveragePooling2D,
    ahead: tuple[Any, ...] = (),
    dropout: bool = False,
    last: str = "softmax",
    head: str = "tanh",
    dtype: str = "float32",
    channels: int = 1,
) -> Any:
    """LeNet-5 as others may build it."""
    image = x = layers.Input((28, 28, channels))
    for layer in ahead:
        x = layer(x)
    x = layers.Conv2D(6, 5, padding="same", activation=activation, dtype=dtype)(x)
    x = layers.Conv2D(16, 5, activation=activation, dtype=dtype)(pooling(2)(x))
    x = layers.Dense(120, activation=head)(layers.Flatten()(pooling(2)(x)))
    if dropout:
        x = layers.Dropout(0.5)(x)
    x = layers.Dense(84, activation=head)(x)
    return keras.Model(image, layers.Dense(10, activation=last, name="digit")(x), name="somebodys")


def start(model: Any, path: Path) -> weights.Start:
    (model.save if path.suffix == ".keras" else model.save_weights)(path)
    return weights.start(LENET, 28, 10, str(path))


def refused(model: Any, path: Path) -> str:
    with pytest.raises(ExportError) as error:
        start(model, path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_network_that_computes_otherwise_is_refused_with_what_differs(tmp_path: Path) -> None:
    said = refused(lenet(activation="relu", pooling=layers.MaxPooling2D, head="relu"), tmp_path / "mine.keras")
    assert said.startswith(f"{tmp_path}/mine.keras is another network than lenet5: ")
    assert "has activation 'relu' (ours has 'tanh'); MaxPooling2D 'max_pooling2d" in said
    assert "instead of AveragePooling2D 's2'" in said
    assert "; and 2 more; which --model is it?" in said


def test_scaling_inside_of_the_network_is_refused_by_name(tmp_path: Path) -> None:
    said = refused(lenet(ahead=(layers.Rescaling(1 / 255, name="to_unit"),)), tmp_path / "m.keras")
    assert "an extra Rescaling 'to_unit' (scale 0.00392156862745098, offset 0.0)" in said
    assert "leave scaling out of the network" in said
    said = refused(lenet(ahead=(layers.Rescaling(1 / 255),)), tmp_path / "m.weights.h5")
    assert "it has 1 rescaling more" in said


@pytest.mark.parametrize("same", [{}, {"dropout": True}, {"dtype": "mixed_bfloat16"}])
def test_the_same_network_is_taken_under_any_name(tmp_path: Path, same: dict[str, Any]) -> None:
    donor = lenet(**same)
    donor.trainable = False
    begun = start(donor, tmp_path / "m.keras")
    assert (len(begun.known), begun.head, begun.warnings) == (5, "", ())
    for ours, theirs in zip(begun.model.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("other", "names", "says"),
    [
        ({"last": "linear"}, ["c1", "c3", "c5", "f6"], "'digit' has activation 'linear' (ours has 'softmax')"),
        ({"head": "relu"}, ["c1", "c3"], "has activation 'relu' (ours has 'tanh')"),
    ],
)
def test_another_head_is_told_and_trained_or_refused(
    tmp_path: Path, other: dict[str, Any], names: list[str], says: str
) -> None:
    donor = lenet(**other)
    if len(names) < 3:  # not most of the network
        said = refused(donor, tmp_path / "m.keras")
        assert "fit 2 of 5 layers" in said and says in said
        return
    begun = start(donor, tmp_path / "m.keras")
    assert [layer.name for layer in begun.known] == names
    (warning,) = begun.warnings
    assert says in begun.head and says in warning
    with pytest.raises(ExportError, match="have to be trained: give --strategy auto") as error:
        plan(begun.model, begun.known, NONE, LENET.recipe, TrainingOptions(NONE), 100, 10, begun.head)
    assert says in str(error.value)


def test_weights_without_a_configuration_are_judged_by_kinds_and_the_rest_is_said(tmp_path: Path) -> None:
    said = refused(lenet(pooling=layers.MaxPooling2D), tmp_path / "m.weights.h5")
    assert "it has 2 max_pooling2d more, 2 average_pooling2d fewer" in said
    begun = start(lenet(activation="relu", dropout=True), tmp_path / "m.weights.h5")
    assert len(begun.known) == 5
    (warning,) = begun.warnings
    assert "holds no configuration" in warning and "activations" in warning


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(tmp_path: Path, name: str, value: float) -> None:
    model = lenet()
    given = model.get_weights()
    given[2][0, 0, 0, 0] = value
    model.set_weights(given)
    said = refused(model, tmp_path / name)
    assert "holds NaN or infinity in 1 of its arrays (first: " in said
    assert "take a checkpoint from before that" in said


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_network_inside_of_a_layer_is_named(tmp_path: Path, name: str) -> None:
    inner = lenet()
    outer = keras.Sequential([layers.Input((28, 28, 1)), inner, layers.Dense(3)])
    said = refused(outer, tmp_path / name)
    assert "holds a network inside of a layer (" in said
    assert "somebodys" in said or name == "m.weights.h5"
    assert "save that one by itself: model.get_layer(" in said
    begun = start(outer.get_layer("somebodys"), tmp_path / "inner.keras")
    assert len(begun.known) == 5


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_whole_model_in_hdf5_is_named(tmp_path: Path, name: str) -> None:
    lenet().save(tmp_path / "m.h5")
    (tmp_path / "m.h5").rename(tmp_path / name)
    with pytest.raises(
        ExportError, match=r"is a whole model in HDF5, .*keras\.saving\.load_model and save it as \.keras"
    ):
        weights.start(LENET, 28, 10, str(tmp_path / name))


def rewritten(path: Path, name: str, change: Any) -> None:
    """Changes one JSON file in an archive."""
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read(name))
    change(content)
    rewrite_file(path, name, json.dumps(content).encode())


def rewrite_file(path: Path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Replaces one file in an archive."""
    with zipfile.ZipFile(path) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for each, data in (files | {name: content}).items():
            archive.writestr(each, data)


def test_files_of_keras_2_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    lenet().save(path)
    rewritten(path, "metadata.json", lambda content: content.update(keras_version="2.15.0"))
    with pytest.raises(ExportError, match=r"was written by Keras 2, .* tf_keras"):
        weights.start(LENET, 28, 10, str(path))
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("_layer_checkpoint_dependencies/conv2d/vars/0", data=np.zeros(3))
    with pytest.raises(ExportError, match="was written by Keras 2"):
        weights.start(LENET, 28, 10, str(path))


def test_code_in_a_file_is_named_and_not_run(tmp_path: Path) -> None:
    image = layers.Input((28, 28, 1))
    said = refused(keras.Model(image, layers.Lambda(lambda x: x * 2)(image)), tmp_path / "m.keras")
    assert "has parts that Keras does not know (Lambda)" in said or "(Lambda, " in said


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: lenet(channels=3), "takes 3 channels, and lenet5 takes 1"),
        (
            lambda: keras.Sequential([layers.Input((4,)), layers.Dense(2)]),
            "one image to one output: it takes shape [None, 4]",
        ),
        (lambda: keras.Sequential([layers.Dense(2)]), "it has 0 inputs and 0 outputs"),
    ],
)
def test_what_takes_no_such_image_is_refused(tmp_path: Path, model: Any, says: str) -> None:
    assert says in refused(model(), tmp_path / "m.keras")


def test_every_networks_own_file_is_taken_at_another_size(tmp_path: Path) -> None:
    """Some paddings follow from the size."""
    row = ARCHITECTURES["mobilenet_v3_small"]
    donor = row.build(row.shape(33), 7)
    donor.save(tmp_path / "m.keras")
    begun = weights.start(row, 48, 10, str(tmp_path / "m.keras"))
    weighted = [layer for layer in begun.model.layers if layer.weights]
    assert [layer.name for layer in weighted if layer not in begun.known] == ["logits"]
    assert begun.warnings == ()


def test_the_layer_that_keras_adds_for_imagenet_is_made_up_for() -> None:
    """Dividing by the root of the variance, and then by it once more, is what our one division has to become."""
    row = ARCHITECTURES["efficientnet_b0"]
    assert row.absorbs is not None and row.settle is not None
    scale = layers.Rescaling([deviation**-0.5 for deviation in (0.229, 0.224, 0.225)])
    mean, variance = np.array([0.485, 0.456, 0.406], "f4"), np.array([0.229, 0.224, 0.225], "f4")

    def build(*more: Any) -> Any:
        return keras.Sequential([layers.Input((8, 8, 3)), layers.Normalization(axis=-1), *more])

    theirs, ours = build(scale), build()
    for each in (theirs, ours):
        each.layers[0].set_weights([mean, variance, np.int32(0)])
    theirs.layers[0].finalize_state()
    assert [row.absorbs(layer) for layer in read_layers(theirs)] == [False, True]
    assert len(read_layers(theirs, row.absorbs)) == 1
    image = np.random.default_rng(0).random((1, 8, 8, 3), "f4")
    row.settle(ours, True)
    np.testing.assert_allclose(ours(image), theirs(image), rtol=1e-5)
    # Without that layer, a deviation for a variance is what the network was trained with, and stays.
    plain = build()
    plain.layers[0].set_weights([mean, variance, np.int32(0)])
    row.settle(plain, False)
    np.testing.assert_allclose(plain(image), (image - mean) / np.sqrt(variance), rtol=1e-5)


@pytest.mark.parametrize(
    "damage", ["version", "nesting", "graph", "encryption", "compression", "zip bomb", "HDF5 bomb"]
)
def test_a_damaged_or_hostile_keras_file_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.keras"
    lenet().save(path)
    says = "is not a readable .keras model"
    if damage == "version":
        rewritten(path, "metadata.json", lambda content: content.update(keras_version=None))
        assert weights.start(LENET, 28, 10, str(path)).known, "what wrote it does not matter"
        return
    if damage == "nesting":
        rewrite_file(path, "config.json", b'{"config":' * 5000 + b"1" + b"}" * 5000)
    elif damage == "graph":
        rewritten(path, "config.json", lambda content: content["config"].update(output_layers=[["none", 0, 0]]))
    elif damage == "zip bomb":
        rewrite_file(path, "config.json", b" " * 150_000_000, zipfile.ZIP_DEFLATED)
        says = r"claims 150 MB of content, and a file of its size has at most 100 MB"
    elif damage == "HDF5 bomb":
        path = tmp_path / "m.weights.h5"
        lenet().save_weights(path)
        with h5py.File(path, "r+") as file:
            del file["layers/conv2d/vars/0"]
            file.create_dataset("layers/conv2d/vars/0", (200_000, 20_000), "f4", chunks=(1000, 1000))
        says = r"claims 16,000 MB of content"
    else:
        data, at, value = bytearray(path.read_bytes()), *{"encryption": (8, 1), "compression": (10, 99)}[damage]
        entry = data.find(b"PK\1\2")
        while entry >= 0:
            data[entry + at] = value
            entry = data.find(b"PK\1\2", entry + 4)
        path.write_bytes(data)
    with pytest.raises(ExportError, match=says) as error:
        weights.start(LENET, 28, 10, str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(6))
def test_a_file_of_weights_with_flipped_bytes_is_taken_or_refused(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "m.weights.h5"
    lenet().save_weights(path)
    data, generator = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for at in generator.integers(0, 8000, 30):
        data[at] = generator.integers(256)
    path.write_bytes(data)
    with suppress(ExportError):
        weights.start(LENET, 28, 10, str(path))
    with suppress(ExportError):
        weights.count_classes(LENET, 28, str(path))
