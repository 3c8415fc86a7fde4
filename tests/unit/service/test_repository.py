"""What counts as a version on disk, and when a change counts."""

import os
from pathlib import Path

import pytest

from service.backends.embedded import EmbeddedBackend
from service.errors import NotReady
from service.profiles import ProfileStore
from service.repository import Repository


def version(root: Path, name: str, folder: str, file: str = "saved_model.pb") -> Path:
    path = root / name / folder
    path.mkdir(parents=True)
    (path / file).write_bytes(b"x")
    return path


def found(root: Path) -> dict[str, list[int]]:
    return {name: sorted(versions) for name, versions in Repository(root).scan().items()}


def test_versions_are_numbers_that_hold_a_model(tmp_path: Path) -> None:
    version(tmp_path, "a", "1")
    version(tmp_path, "a", "00000123", "model.tflite")
    version(tmp_path, "a", ".staging-2")
    version(tmp_path, "a", "latest")
    version(tmp_path, "a", "²")
    (tmp_path / "a" / "7").mkdir()
    version(tmp_path, ".hidden", "1")
    (tmp_path / "README.md").write_text("not a model")
    assert found(tmp_path) == {"a": [1, 123]}
    assert Repository(tmp_path).folder("a", 123).name == "00000123"


def test_what_cannot_be_read_does_not_hide_the_rest(tmp_path: Path) -> None:
    version(tmp_path, "good", "1")
    (tmp_path / "a_file").write_text("not a folder")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "good" / "2").symlink_to(tmp_path / "nowhere")
    (tmp_path / "good" / "3").write_text("not a folder")
    assert found(tmp_path) == {"good": [1]}


def test_of_two_folders_for_one_number_the_same_one_is_always_meant(tmp_path: Path) -> None:
    version(tmp_path, "a", "0001")
    version(tmp_path, "a", "1")
    before = Repository(tmp_path).scan()["a"][1]
    assert Repository(tmp_path).folder("a", 1).name == "0001" and "0001" in before


def test_an_unreadable_repository_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"No such file.*python -m export"):
        Repository(tmp_path / "absent").scan()


def test_fingerprints_follow_the_files(tmp_path: Path) -> None:
    folder = version(tmp_path, "a", "1")
    before = Repository(tmp_path).scan()["a"][1]
    assert Repository(tmp_path).scan()["a"][1] == before
    (folder / "variables").mkdir()
    (folder / "variables" / "v").write_bytes(b"later")
    assert Repository(tmp_path).scan()["a"][1] != before


async def test_what_is_still_being_copied_is_not_told_of(tmp_path: Path) -> None:
    version(tmp_path, "a", "1")
    backend = EmbeddedBackend(Repository(tmp_path), ProfileStore(tmp_path / "cache"))
    first = await backend.find()
    assert list(first["a"]) == [1], "what is there at the start is taken as whole"
    copied = version(tmp_path, "a", "2")
    assert list((await backend.find())["a"]) == [1]
    (copied / "more").write_bytes(b"still copying")
    assert list((await backend.find())["a"]) == [1]
    assert list((await backend.find())["a"]) == [1, 2], "two looks alike: whole"
    os.utime(tmp_path / "a" / "1" / "saved_model.pb", (1, 1))
    assert (await backend.find())["a"][1] == first["a"][1], "a loaded version that changes is told as it was"
    assert (await backend.find())["a"][1] != first["a"][1]
