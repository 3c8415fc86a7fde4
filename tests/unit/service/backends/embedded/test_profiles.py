"""What was measured on this machine: found again, and never a reason to fail."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest

from service.backends.embedded import autotune, litert
from service.backends.embedded.profile_store import ProfileStore
from service.host.cpu import cores, cpu_limit, machine
from service.repository.manifest import TFLITE, Profile


@pytest.fixture(scope="module")
def model(lenet5_repository: Path) -> Path:
    return lenet5_repository / "lenet5" / "1" / TFLITE


@pytest.fixture(scope="module")
def profile(model: Path) -> Profile:
    return autotune.tune(model)[1]


def test_measuring_finds_an_arrangement_of_the_cores_and_what_every_batch_costs(profile: Profile) -> None:
    assert profile.machine == machine()
    assert (profile.lanes, profile.threads) in {(cores(), 1), (1, cores())}
    assert set(profile.milliseconds) == {"image", "tensor"}
    for by_rows in profile.milliseconds.values():
        assert list(by_rows) == [1, 2, 4, 8, 16, 32]
        assert 0 < by_rows[1] < by_rows[32]


def test_a_large_file_gets_one_interpreter_without_another_to_compare(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Lane(litert.Lane):
        def __init__(self, model: litert.ModelFile, threads: int) -> None:
            made.append(threads)
            super().__init__(model, threads)

    monkeypatch.setattr(autotune, "Lane", Lane)
    monkeypatch.setattr(litert, "Lane", Lane)
    monkeypatch.setattr(autotune, "_LARGE", model.stat().st_size)
    runner, profile = autotune.tune(model, seconds=0.1)
    assert made == [cores()] and (runner.slots, profile.lanes, profile.threads) == (1, 1, cores())


def test_a_known_profile_makes_the_runner_it_was_measured_with(model: Path, profile: Profile) -> None:
    assert autotune.load_tuned(model, profile).slots == profile.lanes


def test_what_was_measured_is_found_again_by_the_files_content(model: Path, profile: Profile, tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "cache")
    assert store.read(model) is None
    store.write(model, replace(profile, racing=True))
    moved = tmp_path / "elsewhere.tflite"
    moved.write_bytes(model.read_bytes())
    assert store.read(moved) == profile
    moved.write_bytes(model.read_bytes() + b"another model")
    assert store.read(moved) is None


def test_what_is_kept_of_a_model_goes_with_it(model: Path, profile: Profile, tmp_path: Path) -> None:
    store, kept, gone = ProfileStore(tmp_path / "cache"), tmp_path / "kept.tflite", tmp_path / "gone.tflite"
    for file in (kept, gone):
        file.write_bytes(model.read_bytes() + file.name.encode())
        store.write(file, profile)
        store.locate(file).mkdir()
        store.mark(store.locate(file), file)
    gone.unlink()
    store.remove_orphans()
    assert set(store.folder.iterdir()) == {store.locate(kept), store.locate(kept).with_suffix(".json")}
    assert store.read(kept) == profile


def test_what_others_keep_beside_profiles_stays(tmp_path: Path) -> None:
    """--cache-dir may name a folder of somebody's own."""
    theirs = tmp_path / "lenet5" / "model"
    theirs.parent.mkdir()
    theirs.write_text("gone.tflite")
    ProfileStore(tmp_path).remove_orphans()
    assert theirs.exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"machine": "x"}', b"\xff"])
def test_a_damaged_profile_is_measured_again(
    model: Path, profile: Profile, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = ProfileStore(tmp_path)
    store.write(model, profile)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert store.read(model) is None
    assert "measuring again" in caplog.text


def test_where_nothing_can_be_written_it_says_so_and_goes_on(
    model: Path, profile: Profile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    ProfileStore(tmp_path / "file").write(model, profile)
    assert "--cache-dir" in caplog.text
    ProfileStore(Path("/proc/nowhere")).write(model, profile)


def test_a_user_without_a_home_gets_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert ProfileStore.at(Path("~/.cache/image-model-server")).folder.name == "image-model-server"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({}, math.inf),
    ],
    ids=["version 2", "version 2, none", "version 1", "version 1, none", "no control groups"],
)
def test_a_containers_limit_is_the_control_groups(files: dict[str, str], limit: float, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_limit(tmp_path) == limit


def test_no_more_cores_than_the_limit_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.host.cpu.os.sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr("service.host.cpu.cpu_limit", lambda: 3.5)
    assert cores() == 4
    monkeypatch.setattr("service.host.cpu.cpu_limit", lambda: 0.1)
    assert cores() == 1
