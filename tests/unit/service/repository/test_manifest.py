"""Manifests: what is written is read back, and what is wrong says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import InvalidInput, UnknownSignature
from service.repository.manifest import LABELS, MANIFEST, Manifest, Preprocessing, Profile, Signature, TensorSpec

MANIFESTO = Manifest(
    name="m",
    version=3,
    signatures={
        "serving_default": Signature(
            {"image_bytes": TensorSpec("string", (None,))}, {"p": TensorSpec("float32", (None, 2))}
        ),
        "image": Signature({"image": TensorSpec("uint8", (None, 8, 8, 3))}, {"p": TensorSpec("float32", (None, 2))}),
    },
    labels=("cat", "a dog\x85"),
    preprocessing=Preprocessing(8, 8),
    checked=True,
    architecture="lenet5",
    precision="float32",
    temperature=1.5,
    facts={"accuracy": 0.5},
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    MANIFESTO.write(tmp_path)
    assert Manifest.read(tmp_path, "m", 3) == MANIFESTO
    assert Manifest.read(tmp_path, "other", 4) == replace(MANIFESTO, name="other", version=4)
    assert Manifest.read(tmp_path / "nowhere", "m", 3) is None


def test_that_engines_race_is_in_no_file(tmp_path: Path) -> None:
    """It is a state of a service, and a service that does not know the key refuses the manifest."""
    profile = Profile("a machine", 1, 2, {"image": {1: 2.5}}, 0.1, 20.0)
    racing = replace(MANIFESTO, profile=replace(profile, racing=True))
    racing.write(tmp_path)
    assert "racing" not in (tmp_path / MANIFEST).read_text()
    found = Manifest.read(tmp_path, "m", 3)
    assert found is not None and found.profile == profile
    assert racing.document()["profile"]["racing"], "clients see it"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_manifest_names_its_file(tmp_path: Path, text: str) -> None:
    MANIFESTO.write(tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        Manifest.read(tmp_path, "m", 3)


def test_missing_labels_are_damage(tmp_path: Path) -> None:
    MANIFESTO.write(tmp_path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(ValueError, match=r"labels\.txt"):
        Manifest.read(tmp_path, "m", 3)


def test_an_unknown_signature_lists_the_known() -> None:
    with pytest.raises(UnknownSignature, match=r"\['image', 'serving_default'\]"):
        MANIFESTO.signature("nope")
    assert MANIFESTO.signature("") is MANIFESTO.signatures["serving_default"]


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((1, 3), np.float64), "takes float32, got float64"),
        (np.zeros((1, 4), np.float32), r"takes shape \[N, 3\], got \[1, 4\]"),
        (np.zeros(3, np.float32), r"got \[3\]"),
    ],
)
def test_arrays_are_held_against_the_spec(array: np.ndarray, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        TensorSpec("float32", (None, 3)).check("x", array)


def test_nan_and_infinity_are_the_models_business() -> None:
    TensorSpec("float32", (None, 3)).check("x", np.array([[np.nan, np.inf, -np.inf]], np.float32))


@pytest.mark.parametrize(
    ("declared", "given", "fits"),
    [
        ((None, None, None, 3), (2, 8, 8, 3), True),
        ((None, None, None, 3), (1,), False),
        ((None, None, None, 3), (8, 8, 3), False),
        ((None, None, None, 3), (1, 1, 8, 8, 3), False),
        ((None, None, None, 3), (1, 8, 8, 4), False),
        ((1, 4), (7, 4), True),  # dim 0 is the graph's business
        ((None, 1), (7,), True),  # as TensorFlow Serving's own examples are asked
        ((1,), (7, 1), True),
        ((), (7, 1), True),
        ((), (7,), True),
        ((None, 1), (7, 2), False),
        ((None, 1), (7, 1, 1), False),
        ((None, 1, 1), (7,), False),
        ((), (7, 2), False),
        (None, (1, 2, 3), True),
    ],
)
def test_a_foreign_graph_is_asked_in_the_rank_it_declares(
    declared: tuple[int | None, ...] | None, given: tuple[int, ...], fits: bool
) -> None:
    spec, array = TensorSpec("float32", declared), np.full(given, np.nan, np.float32)
    if fits:
        spec.check_foreign("x", array)
    else:
        with pytest.raises(InvalidInput, match=r"takes shape \[.*\], got \["):
            spec.check_foreign("x", array)


def test_labels_that_do_not_fit_the_outputs_are_damage(tmp_path: Path) -> None:
    outputs = {"probabilities": TensorSpec("float32", (None, 2))}
    fits = replace(MANIFESTO, signatures={"image": Signature({"image": TensorSpec("uint8", None)}, outputs)})
    fits.write(tmp_path)
    assert Manifest.read(tmp_path, "m", 3) == fits
    (tmp_path / LABELS).write_text("cat\n")
    with pytest.raises(ValueError, match="1 labels for 2 probabilities"):
        Manifest.read(tmp_path, "m", 3)
