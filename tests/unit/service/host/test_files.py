"""Files that are written whole."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from export.errors import ExportError
from export.tfserving import __main__ as tfserving_config
from service.backends.embedded.profile_store import ProfileStore
from service.host.files import write_whole
from service.repository import staging
from service.repository.manifest import Profile


@contextmanager
def no_space() -> Iterator[None]:
    """The kernel refuses files past 16 bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_cannot_be_finished_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    with no_space(), pytest.raises(OSError):
        write_whole(tmp_path / "file", b"new " * 100)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    write_whole(tmp_path / "file", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def test_a_profile_that_finds_no_space_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"x")
    store = ProfileStore(tmp_path / "cache")
    profile = Profile("a machine", 1, 1, {"image": {1: 1.0}}, 1.0, 1.0)
    with no_space():
        store.write(tmp_path / "model.tflite", profile)
    assert list((tmp_path / "cache").iterdir()) == []
    store.write(tmp_path / "model.tflite", profile)
    assert store.read(tmp_path / "model.tflite") == profile


def test_a_configuration_that_finds_no_space_leaves_nothing(tmp_path: Path) -> None:
    with no_space(), pytest.raises(ExportError, match="cannot be written"):
        tfserving_config.write(tmp_path / "models.config", "model_config_list {}\n" * 100)
    assert list(tmp_path.iterdir()) == []


def test_the_next_version_follows_the_newest_that_can_be_served(tmp_path: Path) -> None:
    for name in ("3", "0007", str(2**63), "9" * 30, "latest"):
        (tmp_path / "m" / name).mkdir(parents=True)
    with staging.staging(tmp_path / "m") as folder:
        assert staging.publish_next(folder, lambda number: None) == 8
