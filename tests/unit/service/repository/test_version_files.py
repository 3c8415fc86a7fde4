"""What lies beside a version for people to look at: nothing else of its folder is ever read."""

import os
from pathlib import Path

import pytest

from service.errors import NotFound
from service.repository.repository import Repository
from service.repository.version_files import REPORT, SAMPLES, VersionFiles
from service.types import ModelRef

_REF = ModelRef("m", 1)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "m" / "1"
    (folder / SAMPLES).mkdir(parents=True)
    (folder / "model.tflite").write_bytes(b"a model")
    return folder


@pytest.fixture
def files(tmp_path: Path, version: Path) -> VersionFiles:
    return VersionFiles(Repository(tmp_path))


def test_samples_are_images_in_order(files: VersionFiles, version: Path) -> None:
    for name in ("b.PNG", "a 2.jpg", "c.webp", "notes.txt", ".hidden.png", "a.png.exe"):
        (version / SAMPLES / name).write_bytes(name.encode())
    (version / SAMPLES / "folder.png").mkdir()
    os.mkfifo(version / SAMPLES / "pipe.png")
    assert files.list_samples(_REF) == ["a 2.jpg", "b.PNG", "c.webp"]
    assert files.read_sample(_REF, "a 2.jpg") == b"a 2.jpg"


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "gone.png", "notes.txt", ".hidden.png", "folder.png", "pipe.png"),
        *(
            "../../model.tflite",
            "../secret.png",
            "/etc/passwd",
            "x\0.png",
            "a.png/../../secret.png",
            "%2e%2e/secret.png",
        ),
    ],
)
def test_no_other_name_is_read(files: VersionFiles, version: Path, name: str) -> None:
    (version / SAMPLES / "a.png").write_bytes(b"a")
    (version / SAMPLES / "notes.txt").write_bytes(b"b")
    (version / SAMPLES / ".hidden.png").write_bytes(b"b")
    (version / SAMPLES).joinpath("..", "secret.png").write_bytes(b"secret")
    (version / SAMPLES / "folder.png").mkdir()
    os.mkfifo(version / SAMPLES / "pipe.png")
    with pytest.raises(NotFound):
        files.read_sample(_REF, name)


def test_a_version_without_them_has_none(files: VersionFiles, version: Path) -> None:
    (version / SAMPLES).rmdir()
    assert files.list_samples(_REF) == []
    assert files.list_samples(ModelRef("m", 2)) == files.list_samples(ModelRef("nobody", 1)) == []
    for ref in (_REF, ModelRef("m", 2), ModelRef("nobody", 1)):
        with pytest.raises(NotFound, match="its export wrote none"):
            files.read_report(ref)


def test_a_report_is_a_file_of_a_bounded_size(files: VersionFiles, version: Path) -> None:
    report = version / REPORT
    report.parent.mkdir()
    os.mkfifo(report)
    assert not files.has_report(_REF) and not files.has_report(ModelRef("nobody", 1))
    with pytest.raises(NotFound, match="its export wrote none"):
        files.read_report(_REF)
    report.unlink()
    report.write_bytes(b"<!doctype html>")
    assert files.read_report(_REF) == b"<!doctype html>" and files.has_report(_REF)
    with report.open("ab") as file:
        file.truncate(33 * 2**20)
    with pytest.raises(NotFound, match="larger than 32 MiB"):
        files.read_report(_REF)
