"""What counts as a version on disk, and when a change counts."""

import os
import shutil
from pathlib import Path

import pytest

from service.backends.embedded.backend import EmbeddedBackend
from service.backends.embedded.profile_store import ProfileStore
from service.errors import NotReady
from service.repository import checksums as contents
from service.repository.checksums import FILES
from service.repository.layouts import passed_over
from service.repository.manifest import MANIFEST
from service.repository.repository import Repository


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


def test_a_version_number_has_64_bits(tmp_path: Path) -> None:
    version(tmp_path, "a", str(2**63 - 1))
    version(tmp_path, "a", str(2**63))
    version(tmp_path, "b", "0" * 30 + "5")
    assert found(tmp_path) == {"a": [2**63 - 1], "b": [5]}
    assert passed_over(tmp_path) == {f"a/{2**63}": "is no version: numbers end at 9223372036854775807"}


@pytest.mark.parametrize(
    ("file", "path", "says"),
    [
        ("saved_model.pb", "saved_model.pb", "NAME/1/"),
        ("1/saved_model.pb", "1", "--repository {parent}"),
        ("m/saved_model.pb", "m/saved_model.pb", "to m/1/"),
        ("m/model.keras", "m/model.keras", "to m/1/"),
        ("m/v1/saved_model.pb", "m/v1", "such as 1"),
        ("m/2024-06-01/model.tflite", "m/2024-06-01", "rename it to a whole number"),
        ("m/latest/model.tflite", "m/latest", "rename it to a whole number"),
        ("m/1/model.keras", "m/1", "holds model.keras"),
        ("m/1/notes.txt", "m/1", "holds no saved_model.pb or model.tflite"),
        ("m/1/export/saved_model.pb", "m/1", "in export/"),
        ("models/m/1/saved_model.pb", "models", "--repository {root}/models"),
        ("m/notes/why.txt", "m", "holds no version"),
        ("mein modell/1/saved_model.pb", "mein modell", "is no model's name"),
        ("_m/1/saved_model.pb", "_m", "is no model's name"),
    ],
)
def test_a_layout_that_is_not_served_is_named(tmp_path: Path, file: str, path: str, says: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"x")
    version(tmp_path, "good", "1")
    notes = passed_over(tmp_path)
    assert list(notes) == [path] and says.format(root=tmp_path, parent=tmp_path.parent) in notes[path]
    assert found(tmp_path) == {"good": [1]} or path == "1"


def test_versions_beside_and_below_those_that_are_served_are_named(tmp_path: Path) -> None:
    version(tmp_path, "m", "1")
    version(tmp_path, "m", "0001", "model.tflite")
    version(tmp_path / "m", "archive", "7")
    assert passed_over(tmp_path) == {
        "m/archive": "holds versions, one folder too deep",
        "m/1": "is version 1 again; 0001 is served",
    }


def test_that_the_repository_lies_deeper_is_told_first(tmp_path: Path) -> None:
    for folder in ("docs", "service/rest", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    version(tmp_path / "model_repository", "m", "1")
    notes = passed_over(tmp_path)
    assert list(notes) == ["model_repository", "docs", "service", "tests"]
    assert f"--repository {tmp_path / 'model_repository'}" in notes["model_repository"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    notes = passed_over(tmp_path)
    assert sorted(notes) == ["empty", "loop", "m/1"]
    assert "symbolic links" in notes["loop"] and "No such file" in notes["m/1"] and "holds no version" in notes["empty"]
    assert passed_over(tmp_path / "absent") == {}


def test_what_is_nobodys_model_is_not_told_of(tmp_path: Path) -> None:
    version(tmp_path, "good", "1")
    version(tmp_path, "good", ".staging-2")
    version(tmp_path, "new", ".staging-1")
    version(tmp_path, ".hidden", "1")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "README.md").write_text("not a model")
    (tmp_path / "good" / "batching_params.pbtxt").write_text("not a model")
    (tmp_path / "good" / "1" / "assets").mkdir()
    (tmp_path / "good" / "notes").mkdir()
    assert passed_over(tmp_path) == {}


async def test_a_layout_is_told_of_once_and_not_while_it_is_copied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version(tmp_path, "a", "v1")
    backend = EmbeddedBackend(Repository(tmp_path), ProfileStore(tmp_path / "cache"))
    for _ in range(3):
        await backend.find()
    assert caplog.text.count("a/v1 is no version") == 1
    (tmp_path / "a" / "v1").rename(tmp_path / "a" / "1")
    (tmp_path / "a" / "2").mkdir()
    await backend.find()
    assert dict(backend.passed_over) == {} and "a/2" not in caplog.text
    await backend.find()
    assert list(backend.passed_over) == ["a/2"] and caplog.text.count("a/2 holds no") == 1


MARKS = [MANIFEST.as_posix(), FILES]


@pytest.mark.parametrize("mark", MARKS)
async def test_a_version_without_what_an_older_one_carries_is_not_loaded(tmp_path: Path, mark: str) -> None:
    """A copy that has only just begun looks like somebody else's model."""
    older = version(tmp_path, "a", "1")
    (older / mark).parent.mkdir(parents=True)
    (older / mark).write_bytes(b"x")
    version(tmp_path, "a", "2")
    version(tmp_path, "a", "3")
    backend = EmbeddedBackend(Repository(tmp_path), ProfileStore(tmp_path / "cache"))
    before = await backend.find()
    for number in (2, 3):
        with pytest.raises(ValueError, match=f"no {mark}, which version 1 has.*remove version 1"):
            await backend.load("a", number)
    shutil.rmtree(older)
    for _ in range(2):
        after = await backend.find()
    assert after["a"].keys() == {2, 3} and after["a"][2] != before["a"][2], "it is worth another try"


def listed(folder: Path) -> Path:
    (folder / "variables").mkdir()
    (folder / "variables" / "v").write_bytes(b"weights")
    contents.write(folder)
    return folder


def test_a_list_says_whether_a_copy_is_whole(tmp_path: Path) -> None:
    folder = listed(version(tmp_path, "a", "1"))
    contents.check(folder)
    (folder / "variables" / "more").write_bytes(b"nobody listed")
    contents.check(folder)
    for damage in (b"weight", b"weighed", None):
        file = folder / "variables" / "v"
        file.unlink() if damage is None else file.write_bytes(damage)
        with pytest.raises(ValueError, match=r"1 of its 2 files .*variables/v among them; copy it again"):
            contents.check(folder)
    (folder / FILES).write_bytes(b"{")
    with pytest.raises(ValueError, match=r"files.json cannot be read"):
        contents.check(folder)
    contents.check(version(tmp_path, "a", "2"))


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
