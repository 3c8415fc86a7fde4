"""Files that cannot be used: all listed at once, left out up to a share, and the rest is as if they had never been."""

import io
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.data import dataset as data
from export.data import sources
from export.data.options import DataOptions
from export.data.scratch import PixelFile
from export.errors import ExportError, UsageError
from export.progress import Stage
from tests.support.exporter import ROOT
from tests.support.images import encode, photo


def photos(root: Path, count: int = 20, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Different crops of a photograph."""
    for label_index, label in enumerate(classes):
        (root / label).mkdir(parents=True)
        for index in range(count):
            top, left = 3 * index, 11 * index + 90 * label_index
            (root / label / f"{index:02}.png").write_bytes(encode(photo()[top : top + 40, left : left + 40]))
    return root


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def stage(heard: list[str]) -> Iterator[Stage]:
    yield Stage("test", heard.append)


def test_the_rest_is_as_if_bad_files_had_never_been_there(tmp_path: Path, stage: Stage, heard: list[str]) -> None:
    clean, soiled = photos(tmp_path / "clean"), tmp_path / "soiled"
    shutil.copytree(clean, soiled)
    for number, name in enumerate(("cat/03.png", "dog/00.png", "dog/19.png", "cat/11.png")):
        (clean / name).unlink()
        (soiled / name).write_bytes([b"", b"text", encode(photo())[:900], b"\x89PNG\r\n\x1a\n"][number])
    (soiled / "cat" / "phone.HEIC").write_bytes(b"x")
    wanted = data.load(sources.folder(clean), 16, stage)
    heard.clear()
    loaded = data.load(sources.folder(soiled), 16, stage, max_bad_files=0.2)
    for part in ("train", "validation", "held_out"):
        np.testing.assert_array_equal(getattr(loaded, part).images, getattr(wanted, part).images)
        np.testing.assert_array_equal(getattr(loaded, part).classes, getattr(wanted, part).classes)
    assert [Path(each.origin).name for each in loaded.examples] == [Path(each.origin).name for each in wanted.examples]
    assert [each.data for each in loaded.examples] == [each.data for each in wanted.examples]
    listed = [line for line in "".join(heard).splitlines() if "left out:" in line]
    assert [line.partition(": ")[2].partition(": ")[0] for line in listed] == [
        str(soiled / name) for name in ("cat/03.png", "cat/11.png", "cat/phone.HEIC", "dog/00.png", "dog/19.png")
    ]
    assert "the image is empty" in listed[0] and ".heic files are not supported" in listed[2]
    assert loaded.warnings[0].startswith("5 of 41 images cannot be used and are left out (first: ")


@pytest.mark.parametrize(("bad", "most", "ends"), [(2, 0.05, False), (3, 0.05, True), (1, 0.0, True), (3, 1.0, False)])
def test_the_share_decides(tmp_path: Path, stage: Stage, bad: int, most: float, ends: bool) -> None:
    photos(tmp_path)
    for index in range(bad):
        (tmp_path / "cat" / f"{index:02}.png").write_bytes(b"text")
    if ends:
        with pytest.raises(ExportError, match=f"{bad} of 40 images cannot be used, more than --max-bad-files {most:g}"):
            data.load(sources.folder(tmp_path), 16, stage, most)
    else:
        loaded = data.load(sources.folder(tmp_path), 16, stage, most)
        parts = (loaded.train, loaded.validation, loaded.held_out)
        assert sum(len(part.classes) for part in parts) == 40 - bad


def test_a_class_that_bad_files_leave_too_small_is_named(tmp_path: Path, stage: Stage) -> None:
    photos(tmp_path, 6)
    for index in range(2):
        (tmp_path / "dog" / f"{index:02}.png").write_bytes(b"text")
    with pytest.raises(UsageError, match="class 'dog' has 4 images; a class needs at least 5"):
        data.load(sources.folder(tmp_path), 16, stage, max_bad_files=1)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="Invalid --max-bad-files: expected a share from 0 to 1"):
        DataOptions(max_bad_files=share)


def test_copies_between_training_and_measuring_are_reported(tmp_path: Path, stage: Stage) -> None:
    photos(tmp_path)
    assert data.load(sources.folder(tmp_path), 16, stage).warnings == ()
    image = Image.open(tmp_path / "cat" / "05.png")
    for index in range(6, 20):  # with other metadata, so another file
        buffer = io.BytesIO()
        image.save(buffer, "PNG", dpi=(index, index))
        (tmp_path / "cat" / f"{index:02}.png").write_bytes(buffer.getvalue())
    shutil.copy(tmp_path / "cat" / "00.png", tmp_path / "dog" / "00.png")
    warnings = data.load(sources.folder(tmp_path), 16, stage).warnings
    assert any(
        "validation and held-out images have the same pixels as a training image (first: " in w for w in warnings
    )
    (mixed,) = (each for each in warnings if "another class" in each)
    assert "1 image has" in mixed and f"{tmp_path}/cat/00.png" in mixed and f"{tmp_path}/dog/00.png" in mixed


def test_pixels_that_do_not_fit_are_refused_first_with_what_they_need(tmp_path: Path) -> None:
    """In a process whose files may have 100 kB: the system's answer is that of a full disk."""
    photos(tmp_path)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from export.data.scratch import PixelFile\n"
        "from export.errors import ExportError\n"
        "PixelFile(5, 32)\n"
        "try: PixelFile(40, 32)\n"
        "except ExportError as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "40 images at 32x32 take 0 MB of " in ended.stdout, ended.stderr
    assert "File too large; set TMPDIR to a larger disk, or choose a smaller --image-size" in ended.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_disk_is_said_before_the_first_image_is_read(tmp_path: Path, stage: Stage, heard: list[str]) -> None:
    data.load(sources.folder(photos(tmp_path)), 100, stage)
    assert "1.2 MB of " in heard[1] and "reserved for pixels" in heard[1]


def test_rows_are_moved_in_place() -> None:
    file = PixelFile(9, 2)
    for row in range(9):
        file.write(row, np.full((2, 2, 3), row))
    order = np.random.default_rng(3).permutation(9)
    file.permute(order)
    assert file.map(6)[:, 0, 0, 0].tolist() == order[:6].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [150, 1000])
def test_a_disk_that_is_full_publishes_nothing_and_says_so(tmp_path: Path, kilobytes: int) -> None:
    """At different steps. What --resume goes on with may stay."""
    photos(tmp_path / "photos")
    disk = tmp_path / "disk"
    flags = f"--model lenet5 --data {tmp_path}/photos --epochs 1 --force --repository {disk}/models"
    said = export_beside(disk, kilobytes, flags)
    assert said.endswith("nothing was published. Make room there, or give a --repository on a larger disk")


@pytest.mark.slow
def test_a_disk_that_a_network_cannot_be_unpacked_to_is_no_fault_of_its_file(tmp_path: Path) -> None:
    file, disk = tmp_path / "own.keras", tmp_path / "disk"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (("metadata.json", b"{}"), ("config.json", b"{}"), ("model.weights.h5", bytes(400_000))):
            archive.writestr(name, content)
    said = export_beside(disk, 200, f"--from {file} --repository {tmp_path}/models", TMPDIR=str(disk))
    assert said.endswith("nothing was published. Make room there, or set TMPDIR to a larger disk")


def export_beside(disk: Path, kilobytes: int, flags: str, **environment: str) -> str:
    """What an export says that a real small disk is too small for, which it leaves empty."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk of their own")
    disk.mkdir()
    command = (
        f"mount -t tmpfs -o size={kilobytes}k tmpfs {disk} && {sys.executable} -m export {flags}; "
        f"echo ended with $?; find {disk} -type f -not -path '*/.training/*'"
    )
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.stdout.splitlines() == ["ended with 1"], ended.stderr
    (said,) = (line for line in ended.stderr.splitlines() if line.startswith("export: "))
    assert f"No space left on device: {disk}" in said and " MB left; " in said and "Traceback" not in ended.stderr
    return said
