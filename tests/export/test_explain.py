"""`python -m export explain`: the heat lies where the evidence is, and one picture shows it."""

import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from export.errors import ExportError, UsageError
from export.explain import command
from export.explain.filters import read_filters
from export.explain.grad_cam import compute_heat, locate_centre
from export.explain.picture import PANEL
from export.publish.network import NETWORK
from service.repository.manifest import MANIFEST, SAMPLES
from tests.support.exporter import run_export

COFFEE = resources.files("skimage.data") / "coffee.png"
CUP = (0.30, 0.10, 0.68, 0.65)
"""Left, top, right, bottom of the coffee's cup without its saucer, as shares of width and height."""


def test_the_heat_of_espresso_lies_on_the_cup(
    serve_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(str(COFFEE)) as photo:
        photo.convert("RGB").save(tmp_path / "coffee.jpg")
    picture = tmp_path / "explained.png"
    version = serve_repository / "efficientnet_lite0" / "1"
    assert command.main([str(version), str(tmp_path / "coffee.jpg"), "--output", str(picture)]) == 0
    first, *_, where, written = capsys.readouterr().out.splitlines()
    assert first.split()[1] == "espresso" and float(first.split()[0]) > 0.7
    x, y = (int(share) / 100 for share in re.findall(r"(\d+)%", where))
    left, top, right, bottom = CUP
    assert left < x < right and top < y < bottom, where
    assert written == str(picture)
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG" and drawn.width > 2 * PANEL


def test_a_digit_is_explained(lenet5_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version, picture = lenet5_repository / "lenet5" / "1", tmp_path / "seven.png"
    arguments = (str(version), str(version / SAMPLES / "7-0.png"), "--output", str(picture))
    assert command.main((*arguments, "--top-k", "2", "--label", "1")) == 0
    likeliest, second, where, _ = capsys.readouterr().out.splitlines()
    assert likeliest.split()[1] == "7" and len(second.split()) == 2
    assert "speaks for 1" in where
    with Image.open(picture) as drawn:
        assert drawn.height > PANEL


def test_heat_is_the_map_weighed_by_gradients_of_the_score_ahead_of_the_softmax() -> None:
    """The weights of a network of one average and one dense layer are its channels' gradients, and so sure an answer
    has no gradient behind the softmax.
    """
    model = build_bright_and_dark(keras.layers.Dense(2, activation="softmax"))
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[0, 4:6, 2:4] = 1e4
    assert model(image).numpy()[0, 1] == 1
    expected = np.zeros((4, 4), np.float32)
    expected[2, 1] = 1
    np.testing.assert_allclose(compute_heat(model, image, 1), expected)
    assert locate_centre(expected) == (0.375, 0.625)
    assert not compute_heat(model, image, 0).any()  # it speaks against this one
    for softmax in (keras.layers.Softmax(), keras.layers.Activation("softmax")):
        np.testing.assert_allclose(
            compute_heat(build_bright_and_dark(keras.layers.Dense(2), softmax), image, 1), expected
        )


def build_bright_and_dark(*last: Any) -> Any:
    """A network that averages 2x2 pixels, and takes brightness for class 1."""
    image = keras.layers.Input((8, 8, 1))
    x = keras.layers.Conv2D(1, 2, strides=2, use_bias=False, name="first")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    for layer in last:
        x = layer(x)
    model = keras.Model(image, x)
    model.get_layer("first").set_weights([np.full((2, 2, 1, 1), 0.25, np.float32)])
    dense = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    dense.set_weights([np.array([[-1, 1]], np.float32), np.zeros(2, np.float32)])
    return model


def test_a_network_without_a_map_of_places_has_no_heat() -> None:
    image = keras.layers.Input((8, 8, 3))
    tokens = keras.layers.Reshape((4, 5))(keras.layers.Conv2D(5, 4, strides=4)(image))
    mixed = keras.layers.MultiHeadAttention(1, 5)(tokens, tokens)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(mixed)))
    with pytest.raises(ExportError, match="keeps no map of places"):
        compute_heat(model, np.zeros((1, 8, 8, 3), np.float32), 0)


def test_filters_are_those_of_the_first_convolution_wherever_it_lies() -> None:
    inner = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(5, 3, name="inside")])
    image = keras.layers.Input((8, 8, 3))
    scaled = keras.layers.Rescaling(2.0)(image)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(inner(scaled))))
    pixels = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    found = read_filters(model, pixels)
    assert found.layer == "inside" and found.kernels.shape == (5, 3, 3, 3)
    np.testing.assert_allclose(found.responses, np.asarray(inner(2 * pixels))[0].transpose(2, 0, 1), rtol=1e-5)


def test_what_cannot_be_explained_is_one_clear_error(lenet5_repository: Path, tmp_path: Path) -> None:
    version = lenet5_repository / "lenet5" / "1"
    photo = str(version / SAMPLES / "7-0.png")
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    bare = tmp_path / "bare" / "1"
    (bare / MANIFEST).parent.mkdir(parents=True)
    shutil.copy(version / MANIFEST, bare / MANIFEST)
    shutil.copytree(version / "assets", bare / "assets")
    for arguments, kind, message in (
        ((tmp_path / "none", photo), UsageError, "there is no such folder"),
        ((version.parent, photo), UsageError, f"such as {version}"),
        ((bare, photo), UsageError, f"has no {NETWORK}"),
        ((version, tmp_path / "none.jpg"), UsageError, "cannot be read"),
        ((version, text), ExportError, "text.jpg: "),
        ((version, photo, "--label", "seven"), UsageError, "one of 10 labels"),
        ((version, photo, "--top-k", "0"), UsageError, "Invalid --top-k"),
    ):
        with pytest.raises(kind, match=re.escape(message)) as raised:
            command.main([str(each) for each in arguments])
        assert "\n" not in str(raised.value)
    ended = run_export("explain", bare, photo)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("export: ") and "export the model anew" in line
