import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.data import dataset as data
from export.data import reading, sources
from export.errors import ExportError, UsageError
from export.progress import Stage
from service.preprocessing import decode as images
from tests.support.image_matrix import turned
from tests.support.images import encode, photo, png_claiming

Picture = Callable[[Path], None]


def stage() -> Stage:
    return Stage("test", lambda text: None)


def picture(path: Path, level: int = 0, size: tuple[int, int] = (40, 30)) -> None:
    """Its red is `level` everywhere; its blue differs from other files'."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (level, 255 - level, 128))
    left, top = np.random.default_rng(list(path.name.encode())).integers(0, 24, 2).tolist()
    image.paste((level, 255 - level, 20), (left, top, left + 6, top + 6))
    image.save(path)


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
    assert one.train.images.shape == (1294, 28, 28, 3)
    assert one.validation.images.shape == (144, 28, 28, 3)
    assert one.held_out.images.shape == (359, 28, 28, 3)


def test_folder_is_one_class_a_folder(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "notes.txt").write_text("not a class")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    loaded = data.load(sources.find(str(tmp_path)), 24, stage())
    assert loaded.labels == ("cat", "dog")
    assert loaded.train.images.shape == (14, 24, 24, 3)
    assert loaded.validation.images.shape == (2, 24, 24, 3)
    assert sorted(loaded.held_out.classes) == [0, 0, 1, 1]
    levels = loaded.held_out.images[..., 0].mean(axis=(1, 2))
    np.testing.assert_allclose(levels, np.where(loaded.held_out.classes == 1, 220, 20), atol=2)
    assert [example.label for example in loaded.examples] == ["cat", "dog", "cat", "dog"]


def test_an_image_that_vanishes_is_named(tmp_path: Path) -> None:
    found = sources.folder(animals(tmp_path))
    (tmp_path / "dog" / "4.PNG").unlink()
    with pytest.raises(ExportError, match=r"dog/4\.PNG: cannot be read: No such file"):
        data.load(found, 24, stage(), max_bad_files=0.01)


def test_too_few_classes_or_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two of them; it has none"):
        sources.folder(tmp_path)
    picture(tmp_path / "cat" / "0.jpg")
    with pytest.raises(UsageError, match="it has only 'cat'"):
        sources.folder(tmp_path)
    picture(tmp_path / "dog" / "0.jpg")
    for index in range(5):
        picture(tmp_path / "cat" / f"{index}.jpg")
    with pytest.raises(UsageError, match="dog has 1 image; a class needs at least 5"):
        sources.folder(tmp_path)


def test_a_label_that_would_break_the_label_file_is_refused(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "c\u2028at")
    with pytest.raises(UsageError, match="line break"):
        sources.folder(tmp_path)


def test_every_image_that_the_service_refuses_is_listed_before_training(tmp_path: Path) -> None:
    animals(tmp_path)
    whole = (tmp_path / "cat" / "3.jpg").read_bytes()
    (tmp_path / "cat" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "1.PNG").write_bytes(png_claiming(9_000, 9_000))
    (tmp_path / "dog" / "2.PNG").write_text("<html>404</html>")
    with pytest.raises(ExportError) as refused:
        data.load(sources.folder(tmp_path), 24, stage())
    head, *lines = str(refused.value).splitlines()
    assert head == "3 of 20 images cannot be used, more than --max-bad-files 0.05 allows; mend or remove them:"
    assert [line.split(":")[0].strip() for line in lines] == [
        str(tmp_path / name) for name in ("cat/3.jpg", "dog/1.PNG", "dog/2.PNG")
    ]
    assert "is the file whole?" in lines[0]
    assert "9000x9000" in lines[1]
    assert "this is no JPEG" in lines[2]


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".jfif", "JPEG"), (".jpe", "JPEG"), (".JPG", "JPEG"), (".bmp", "BMP"), (".GIF", "GIF"), (".png", "JPEG"),
    ],
)  # fmt: skip
def test_images_are_taken_under_every_name_and_for_what_they_are(tmp_path: Path, suffix: str, kind: str) -> None:
    animals(tmp_path)
    levels = np.arange(40 * 30, dtype=np.uint8).reshape(30, 40) // 5
    (tmp_path / "cat" / f"more{suffix}").write_bytes(encode(np.stack([levels] * 3, axis=-1), kind))
    loaded = data.load(sources.folder(tmp_path), 24, stage())
    assert sum(len(part.classes) for part in (loaded.train, loaded.validation, loaded.held_out)) == 21
    assert loaded.warnings == ()


@pytest.mark.parametrize("name", ["photo.webp", "photo.jpg"])
def test_webp_is_trained_on_and_said_to_be_the_services_alone(tmp_path: Path, name: str) -> None:
    """Whatever the file is called, its content decides."""
    for label, level in (("a", 20), ("b", 220)):
        for index in range(5):
            file = tmp_path / label / f"{index}-{name}"
            file.parent.mkdir(exist_ok=True)
            pixels = np.full((30, 40, 3), level, np.uint8)
            pixels[:, :, 2] = 50 * index
            file.write_bytes(encode(pixels, "WEBP", lossless=True))
    loaded = data.load(sources.folder(tmp_path), 24, stage())
    (warning,) = loaded.warnings
    assert "10 of 10 images are WebP, which the service decodes and a bare TensorFlow Serving cannot" in warning
    assert str(tmp_path / "a" / f"0-{name}") in warning
    assert np.abs(loaded.held_out.images[:, 0, 0, 0].astype(int) - [20, 220]).max() <= 1, "WebP rounds"
    # What warms, samples and checks the graph has to be readable to it.
    assert {Image.open(io.BytesIO(example.data)).format for example in loaded.examples} == {"PNG"}


def test_an_image_that_the_graph_decodes_otherwise_is_trained_on_as_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals(tmp_path)
    monkeypatch.setattr(reading, "PIXEL_TOLERANCE", -1.0)  # no two decoders are close enough
    loaded = data.load(sources.folder(tmp_path), 24, stage())
    (warning,) = loaded.warnings
    assert warning.startswith("20 of 20 images are decoded otherwise by a bare TensorFlow Serving than by the service")
    (file,) = (file for file in (tmp_path / "cat").iterdir() if str(file) == loaded.examples[0].origin)
    served = images.decode(file.read_bytes(), 24, 24)
    np.testing.assert_array_equal(loaded.held_out.images[0], served)


def test_photographs_are_trained_on_upright_and_said_to_be_turned(tmp_path: Path) -> None:
    """The pixels of a file that its EXIF turns are those of the same file saved upright."""
    upright, turned_by_exif = tmp_path / "upright", tmp_path / "turned"
    seen = Image.fromarray(photo()).resize((120, 80))
    for label in ("a", "b"):
        for index in range(9):
            orientation = index % 8 + 1
            for root in (upright, turned_by_exif):
                (root / label).mkdir(parents=True, exist_ok=True)
            shown = seen.crop((index, 5 if label == "b" else 0, 100 + index, 70))
            shown.save(upright / label / f"{index}.png")
            tags = Image.Exif()
            tags[0x0112] = orientation
            turned(shown, orientation).save(turned_by_exif / label / f"{index}.png", exif=tags)
    wanted, loaded = (data.load(sources.folder(root), 24, stage()) for root in (upright, turned_by_exif))
    for part in ("train", "validation", "held_out"):
        pixels, others = (getattr(each, part).images.astype(int) for each in (wanted, loaded))
        assert np.abs(pixels - others).max() <= 1
    (warning,) = loaded.warnings
    assert warning.startswith("14 of 18 images are turned by their EXIF orientation, which a bare TensorFlow Serving")
    # What warms, samples and checks the graph is upright for the graph.
    assert [images.find_orientation(example.data) for example in loaded.examples] == [1] * len(loaded.examples)


def test_what_is_not_read_is_counted_once_a_reason(tmp_path: Path) -> None:
    animals(tmp_path)
    for name in ("cat/a.heic", "cat/b.HEIC", "dog/c.heic", "dog/notes", "d.jpg", "dog/.hidden.heic"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "cat" / "kittens").mkdir()
    assert sources.folder(tmp_path).passed_over == {
        ("file", " without an ending"): 1,
        ("image", " outside of the class folders"): 1,
        ("folder", " inside of a class folder"): 1,
    }
    assert data.load(sources.folder(tmp_path), 24, stage(), max_bad_files=0.2).warnings == (
        f"3 of 23 images cannot be used and are left out (first: {tmp_path}/cat/a.heic: .heic files are not supported; "
        "save it as JPEG or PNG)",
        "not read: 1 file without an ending, 1 folder inside of a class folder, 1 image outside of the class folders",
    )
    shutil.rmtree(tmp_path / "dog")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"dog has 0 images \(beside 1 \.mp4 file\); a class needs at least 5"):
        sources.folder(tmp_path)


def test_names_that_are_not_utf8_are_found_before_training(tmp_path: Path) -> None:
    animals(tmp_path)
    odd = os.fsdecode(os.fsencode(tmp_path / "dog") + b"\xff")
    (tmp_path / "dog").rename(odd)
    with pytest.raises(UsageError, match=r"dog\\xff has a name that is not UTF-8, .*; rename it") as refused:
        sources.folder(tmp_path)
    str(refused.value).encode()


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "bell\a"])
def test_a_class_name_that_a_terminal_would_obey_is_refused_and_shown_harmless(tmp_path: Path, name: str) -> None:
    animals(tmp_path)
    (tmp_path / "dog").rename(tmp_path / name)
    with pytest.raises(UsageError, match="control character; rename it") as refused:
        sources.folder(tmp_path)
    assert str(refused.value).isprintable()


def test_a_file_that_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(3_000_000_000)
    for name, says in (("pipe", "no regular file"), ("device", "no regular file"), ("sparse", "has 3,000 MB")):
        with pytest.raises(ExportError, match=says):
            sources.read_bytes(tmp_path / f"{name}.png")


def test_names_of_images_and_of_their_root_may_be_in_any_encoding(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/photos\xe9"))
    animals(root)
    odd = os.fsdecode(b"caf\xe9.jpg")
    (root / "cat" / "3.jpg").rename(root / "cat" / odd)
    found = sources.folder(root)
    loaded = data.load(found, 24, stage())
    assert loaded.name == "photos\\xe9"
    assert sum(found.describe(index).endswith("caf\\xe9.jpg") for index in range(20)) == 1
    for text in (*(found.describe(index) for index in range(20)), *(each.origin for each in loaded.examples)):
        text.encode()


def test_a_source_of_other_images_has_another_fingerprint(tmp_path: Path) -> None:
    animals(tmp_path)
    before = sources.fingerprint(sources.folder(tmp_path))
    assert before == sources.fingerprint(sources.folder(tmp_path))
    shutil.copy(tmp_path / "cat" / "3.jpg", tmp_path / "dog" / "more.jpg")
    added = sources.fingerprint(sources.folder(tmp_path))
    (tmp_path / "dog" / "more.jpg").rename(tmp_path / "cat" / "more.jpg")
    assert len({before, added, sources.fingerprint(sources.folder(tmp_path))}) == 3
