"""Augmentation changes training images as it says, in their range, and labels only where it blends."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.architectures import ARCHITECTURES
from export.architectures.architecture import Recipe
from export.data import contact_sheet, sources
from export.data.augmentation import KINDS, PRESETS, Augmentation, build_augmenter, parse_augmentation
from export.data.dataset import Split
from export.data.options import DataOptions
from export.errors import UsageError
from export.progress import Stage
from export.training import loop, train
from export.training.options import TrainingOptions
from tests.support.exporter import run_export
from tests.support.images import photo

SIZE = 48
BATCH = np.stack([photo()[y : y + SIZE, x : x + SIZE] for y in range(0, 200, 50) for x in range(0, 200, 50)])
CLASSES = (np.arange(len(BATCH)) % 2).astype(np.int32)


def augmented(augmentation: Augmentation, images: Any = BATCH, seed: int = 0, times: int = 1) -> list[tuple[Any, Any]]:
    """Batches from a pipeline, as training takes them."""
    augment = build_augmenter(augmentation, 2, seed)
    data = tf.data.Dataset.from_tensor_slices((images.astype(np.float32), CLASSES[: len(images)]))
    return [(pixels.numpy(), labels.numpy()) for pixels, labels in data.batch(len(images)).repeat(times).map(augment)]


def test_presets_grow() -> None:
    assert [len(PRESETS[name].settings) for name in ("none", "light", "medium", "strong")] == [0, 3, 6, 7]
    assert parse_augmentation("light, flip,MixUp").settings.keys() == {*PRESETS["light"].settings, "flip", "mixup"}
    assert parse_augmentation("rand-augment").settings.keys() == {"rand_augment"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("midium", "did you mean medium"),
        ("flips", "did you mean flip?"),
        ("cut_mix", "did you mean cutmix"),
        ("", "got ''"),
        ("flip,light", "expected 'light' first"),
        ("light,strong", "expected 'strong' first"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(text: str, says: str) -> None:
    with pytest.raises(UsageError, match="--augment") as refused:
        DataOptions(augment=text)
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "labels", "flips"),
    [
        ("medium", ("cat", "dog"), True),
        ("medium", ("bright", "leftover"), True),
        ("medium", tuple("0123456789"), False),
        ("strong", ("a", "b", "c"), False),
        ("medium", ("10", "20"), False),
        ("medium", ("turn_left", "straight on"), False),
        ("flip", tuple("0123456789"), True),
        ("light, flip", ("a", "b"), True),
        ("light", ("cat", "dog"), False),
    ],
)
def test_presets_mirror_nothing_that_has_a_right_side(text: str, labels: tuple[str, ...], flips: bool) -> None:
    assert DataOptions(augment=text).choose_augmentation(labels).flip == flips


def test_none_leaves_images_as_they_are() -> None:
    ((images, labels),) = augmented(PRESETS["none"])
    np.testing.assert_array_equal(images, BATCH)
    np.testing.assert_array_equal(labels, CLASSES)


@pytest.mark.parametrize("text", [*KINDS, "strong,mixup,cutmix"])
def test_every_kind_changes_images_within_their_range_anew_each_time_and_the_same_for_one_seed(text: str) -> None:
    chosen = parse_augmentation(text)
    first, second = augmented(chosen, times=2)
    for images, labels in (first, second):
        assert images.shape == BATCH.shape and images.dtype == np.float32
        assert images.min() >= 0 and images.max() <= 255
        assert labels.dtype == (np.float32 if chosen.blends else np.int32)
        assert np.abs(images - BATCH).mean() > 0.3
    assert np.abs(first[0] - second[0]).mean() > 0.3
    np.testing.assert_array_equal(augmented(chosen)[0][0], first[0])
    assert np.abs(augmented(chosen, seed=1)[0][0] - first[0]).mean() > 0.3


@pytest.mark.parametrize("text", ["flip", "rotation", "zoom", "translation", "crop", "contrast", "brightness"])
def test_every_image_of_a_batch_is_changed_by_itself(text: str) -> None:
    same = np.repeat(BATCH[:1], 16, axis=0)
    ((images, _),) = augmented(parse_augmentation(text), same)
    assert len(np.unique(images.reshape(16, -1), axis=0)) == (2 if text == "flip" else 16)


def test_a_flip_is_the_mirrored_image() -> None:
    ((images, _),) = augmented(Augmentation(flip=True))
    for image, given in zip(images, BATCH, strict=True):
        assert np.abs(image - given).max() < 0.1 or np.abs(image - given[:, ::-1]).max() < 0.1


def ramp(axis: int) -> Any:
    """[16, SIZE, SIZE, 3]: a value says where along the axis it lies."""
    return np.broadcast_to(np.indices((SIZE, SIZE))[axis][None, ..., None], (16, SIZE, SIZE, 3))


@pytest.mark.parametrize("axis", [0, 1])
def test_geometry_goes_as_far_as_it_says(axis: int) -> None:
    middle = SIZE // 2
    for images, _ in augmented(Augmentation(translation=0.1), ramp(axis), times=10):
        moved = np.abs(images[:, middle, middle, 0] - middle)
        assert 1 < moved.max() <= 0.1 * SIZE + 0.01
    for images, _ in augmented(Augmentation(zoom=0.2), ramp(axis), times=10):
        lines = images[:, :, middle, 0] if axis == 0 else images[:, middle, :, 0]
        slopes = lines[:, middle + 5] - lines[:, middle - 5]
        assert slopes.min() >= 7.99 and slopes.max() <= 12.01 and slopes.max() - slopes.min() > 1
    for images, _ in augmented(Augmentation(crop=0.4), ramp(axis), times=10):
        lines = images[:, :, middle, 0] if axis == 0 else images[:, middle, :, 0]
        slopes = np.diff(lines, axis=1)
        assert slopes.min() > 0.59, "a crop lies inside of the image: no edge is continued"
    for images, _ in augmented(Augmentation(rotation=10), ramp(axis), times=10):
        across = images[:, middle, :, 0] if axis == 0 else images[:, :, middle, 0]
        slopes = (across[:, middle + 10] - across[:, middle - 10]) / 20
        assert 0.02 < np.abs(slopes).max() <= np.sin(np.radians(10)) + 0.001


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_shares_of_what_is_seen(kind: str) -> None:
    images = np.broadcast_to(CLASSES[:, None, None, None] * 255, BATCH.shape)
    blended = 0
    for pixels, labels in augmented(parse_augmentation(kind), images, times=5):
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(pixels.mean(axis=(1, 2, 3)) / 255, labels[:, 1], atol=0.06)
        blended += int(((labels > 0.05) & (labels < 0.95)).any(axis=1).sum())
    assert blended > 3


@pytest.mark.parametrize("text", ["none", "strong", "light,mixup,cutmix"])
def test_training_learns_from_augmented_images_and_the_network_holds_none_of_it(text: str, tmp_path: Path) -> None:
    row = ARCHITECTURES["mobilenet_v3_small"]
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    classes = (np.arange(64) % 2).astype(np.int32)
    images = np.random.default_rng(0).integers(0, 80, (64, 8, 8, 3), np.uint8)
    images[classes == 1, ..., 0] += 150
    before = [layer.name for layer in model.layers]
    stage, split = Stage("test", lambda text: None), Split(images, classes)
    batches = train.prepare_batches(row, split, split, 16, 0, 2, parse_augmentation(text))
    recipe = Recipe(epochs=30, batch_size=16, learning_rate=0.05)
    loop.run(model, batches, recipe, TrainingOptions(patience=0), stage, rates={}, class_weights=None, folder=tmp_path)
    assert train.evaluate(model, row, split, ("a", "b"), stage).accuracy > 0.9
    assert [layer.name for layer in model.layers] == before


def test_a_contact_sheet_shows_images_as_read_and_as_trained_on() -> None:
    sheet = np.asarray(contact_sheet.draw(sources.digits(), parse_augmentation("medium"), 32, 0))
    assert sheet.shape == (8 * (32 + 4 + 16) + 4, 8 * (32 + 4) + 4, 3)
    first, second = (sheet[4:36, left : left + 32].astype(int) for left in (4, 40))
    assert first.max() > 200 and np.abs(first - second).mean() > 5


def test_the_command_writes_a_sheet(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(5):
            Image.fromarray(BATCH[index]).save(tmp_path / "photos" / label / f"{index}.png")
    (tmp_path / "photos" / "cat" / "0.png").write_bytes(b"no image")
    output = tmp_path / "sheet.png"
    ended = run_export(
        "augment", "--data", tmp_path / "photos", "--augment", "medium,cutmix", "--image-size", 40, "--output", output
    )
    assert ended.returncode == 0, ended.stderr
    with Image.open(output) as sheet:
        assert sheet.format == "PNG" and sheet.width == 8 * 44 + 4
    assert "flip 1" in ended.stderr and "cutmix 1" in ended.stderr


def test_the_command_refuses_in_one_line() -> None:
    ended = run_export("augment", "--augment", "flop")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "did you mean flip" in ended.stderr
