import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import data, sources
from export.errors import ExportError, UsageError
from export.progress import Stage

Picture = Callable[[Path], None]


def stage() -> Stage:
    return Stage("test", lambda text: None)


def picture(path: Path, level: int = 0, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 255 - level, 128)).save(path)


def animals(root: Path, count: int = 10) -> Path:
    for index in range(count):
        picture(root / "cat" / f"{index}.jpg", 20)
        picture(root / "dog" / f"{index}.PNG", 220)
    return root


def test_digits_are_1797_pictures_in_ten_classes() -> None:
    digits = sources.digits()
    assert len(digits.classes) == 1797
    assert digits.labels == tuple("0123456789")
    with Image.open(io.BytesIO(digits.read(0))) as first:
        assert (first.format, first.mode, first.size) == ("PNG", "RGB", (32, 32))
        pixels = np.asarray(first)
    assert pixels[0, 0].max() < 32  # black around
    assert pixels.max() > 224  # white ink


def test_digits_decode_the_same_every_time() -> None:
    one, two = (data.load(sources.digits(), 28, stage()) for _ in range(2))
    np.testing.assert_array_equal(one.train.images, two.train.images)
    np.testing.assert_array_equal(one.held_out.classes, two.held_out.classes)
    assert one.examples == two.examples
    assert one.train.images.shape == (1438, 28, 28, 3)
    assert one.held_out.images.shape == (359, 28, 28, 3)


def test_split_is_disjoint_whole_and_stratified() -> None:
    classes = sources.digits().classes
    train, held_out = data.split(classes)
    assert sorted([*train, *held_out]) == list(range(1797))
    shares = np.bincount(classes[held_out]) / np.bincount(classes)
    assert (abs(shares - 0.2) < 0.01).all()
    assert sorted(classes[held_out[:10]]) == list(range(10))  # classes take turns


def test_folder_is_one_class_a_folder(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("not a class")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    loaded = data.load(sources.find(str(tmp_path)), 24, stage())
    assert loaded.labels == ("cat", "dog")
    assert loaded.train.images.shape == (16, 24, 24, 3)
    assert sorted(loaded.held_out.classes) == [0, 0, 1, 1]
    levels = loaded.held_out.images[..., 0].mean(axis=(1, 2))
    np.testing.assert_allclose(levels, np.where(loaded.held_out.classes == 1, 220, 20), atol=2)
    assert [example.label for example in loaded.examples] == ["cat", "dog", "cat", "dog"]


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    animals(tmp_path)
    whole = (tmp_path / "cat" / "3.jpg").read_bytes()
    (tmp_path / "cat" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=r"cat/3\.jpg is not a readable JPEG or PNG"):
        data.load(sources.folder(tmp_path), 24, stage())


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    found = sources.folder(animals(tmp_path))
    (tmp_path / "dog" / "4.PNG").unlink()
    with pytest.raises(ExportError, match=r"dog/4\.PNG cannot be read: No such file"):
        data.load(found, 24, stage())


def test_too_few_classes_or_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two of them; it has none"):
        sources.folder(tmp_path)
    picture(tmp_path / "cat" / "0.jpg")
    with pytest.raises(UsageError, match="it has only 'cat'"):
        sources.folder(tmp_path)
    picture(tmp_path / "dog" / "0.jpg")
    with pytest.raises(UsageError, match="cat has 1 JPEG or PNG images; a class needs at least 5"):
        sources.folder(tmp_path)


def test_a_label_that_would_break_the_label_file_is_refused(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "c\u2028at")
    with pytest.raises(UsageError, match="line break"):
        sources.folder(tmp_path)
