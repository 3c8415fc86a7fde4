"""Starting weights: taken whole, taken but for the head, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.architectures import ARCHITECTURES
from export.errors import ExportError
from export.training import auto, phases, weights

LENET, MOBILENET = ARCHITECTURES["lenet5"], ARCHITECTURES["mobilenet_v3_small"]


def saved(path: Path, classes: int) -> tuple[Path, Any]:
    model = LENET.build(LENET.shape(28), classes)
    if path.suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)
    return path, model


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_file_of_the_same_network_fits_whole(tmp_path: Path, name: str) -> None:
    path, source = saved(tmp_path / name, 10)
    start = weights.start(LENET, 28, 10, str(path))
    model, known = start.model, start.known
    for ours, theirs in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    decided = auto.decide_at_once(model, known)
    assert decided is not None
    assert decided.strategy == "full"


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_another_number_of_classes_gets_a_new_head(tmp_path: Path, name: str) -> None:
    path, source = saved(tmp_path / name, 7)
    start = weights.start(LENET, 28, 10, str(path))
    model, known = start.model, start.known
    assert [layer.name for layer in known] == ["c1", "c3", "c5", "f6"]
    np.testing.assert_array_equal(model.get_layer("c5").kernel, source.get_layer("c5").kernel)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert auto.decide_at_once(model, known) is None
    assert [layer.name for layer in phases.split_head(model, known)[1]] == ["output"]


def test_pretrained_weights_leave_only_the_head_to_train() -> None:
    # What Keras' download gives: 1000 classes at the published size, adopted at another.
    donor = MOBILENET.build(MOBILENET.shape(224), 1000)
    model = MOBILENET.build(MOBILENET.shape(48), 10)
    known = weights.adopt(model, donor, "imagenet")
    assert {layer.name for layer in model.layers if layer.weights} - {layer.name for layer in known} == {"logits"}


def test_the_names_of_layers_do_not_matter() -> None:
    # Keras numbers what a builder leaves unnamed: the second network's conv2d is conv2d_94.
    inception = ARCHITECTURES["inception_v3"]
    donor, model = (inception.build(inception.shape(75), classes) for classes in (7, 10))
    known = weights.adopt(model, donor, "imagenet")
    assert [layer.name for layer in model.layers if layer.weights and layer not in known] == ["predictions"]
    assert known[0].name not in [layer.name for layer in donor.layers]
    for ours, theirs in zip(model.get_weights()[:-2], donor.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_head_begins_where_the_image_size_matters() -> None:
    donor, model = LENET.build(LENET.shape(28), 10), LENET.build(LENET.shape(32), 10)
    # f6 has the same shape at every size, but stands behind c5, which has not.
    with pytest.raises(ExportError, match="fit 2 of 5 layers"):
        weights.adopt(model, donor, "imagenet")


def test_another_architectures_file_is_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "m.keras", 10)
    with pytest.raises(ExportError, match="takes 1 channel, and mobilenet_v3_small takes 3"):
        weights.start(MOBILENET, 32, 10, str(path))


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    path, _ = saved(tmp_path / name, 10)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ExportError, match="is not a readable"):
        weights.start(LENET, 28, 10, str(path))
    path.write_text("nonsense")
    with pytest.raises(ExportError, match="is not a readable"):
        weights.start(LENET, 28, 10, str(path))
