"""A version appears whole or not at all, whoever dies and however many publish at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.errors import ExportError
from export.publish.publish import publish, staging
from service.repository.repository import Repository
from tests.support.exporter import ROOT

STAGE_AND_WAIT = """
import sys, time
from pathlib import Path
from export.publish.publish import staging
with staging(Path(sys.argv[1]), "m") as folder:
    (folder / "saved_model.pb").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(120)
"""

PUBLISH_TEN = """
import sys
from pathlib import Path
from export.publish.publish import publish, staging
for _ in range(10):
    with staging(Path(sys.argv[1]), "m") as folder:
        (folder / "saved_model.pb").write_bytes(b"whole")
        publish(folder, lambda version: (folder / "number").write_text(str(version)))
"""


def start(script: str, repository: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, str(repository)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def release(repository: Path) -> int:
    with staging(repository, "m") as folder:
        (folder / "saved_model.pb").write_bytes(b"whole")
        return publish(folder, lambda version: None)


def test_versions_count_up_from_what_is_there(tmp_path: Path) -> None:
    assert [release(tmp_path), release(tmp_path)] == [1, 2]
    (tmp_path / "m" / "00000041").mkdir()
    (tmp_path / "m" / "notes").mkdir()
    assert release(tmp_path) == 42
    assert sorted(entry.name for entry in (tmp_path / "m").iterdir()) == ["00000041", "1", "2", "42", "notes"]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging(tmp_path, "m") as folder:
        (folder / "saved_model.pb").write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_staged_folders_are_open_to_other_users(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        release(tmp_path)
    finally:
        os.umask(mask)
    assert (tmp_path / "m" / "1").stat().st_mode & 0o777 == 0o755


def test_a_killed_exporter_leaves_nothing_to_load_and_the_next_clears_it(tmp_path: Path) -> None:
    child = start(STAGE_AND_WAIT, tmp_path)
    assert child.stdout is not None
    folder = Path(child.stdout.readline().strip())
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert (folder / "saved_model.pb").is_file()
    assert Repository(tmp_path).scan() == {}
    assert release(tmp_path) == 1
    assert not folder.exists()
    assert set(Repository(tmp_path).scan()["m"]) == {1}


def test_a_living_exporters_staging_is_left_alone(tmp_path: Path) -> None:
    child = start(STAGE_AND_WAIT, tmp_path)
    try:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        assert release(tmp_path) == 1
        assert (folder / "saved_model.pb").is_file()
    finally:
        child.kill()
        child.wait(10)


def test_many_at_once_never_share_a_number(tmp_path: Path) -> None:
    children = [start(PUBLISH_TEN, tmp_path) for _ in range(5)]
    seen: set[str] = set()
    while any(child.poll() is None for child in children):
        for folder in (tmp_path / "m").glob("[0-9]*"):
            seen.add(folder.name)
            assert (folder / "saved_model.pb").read_bytes() == b"whole"  # a reader never sees half of one
        time.sleep(0.001)
    assert [child.returncode for child in children] == [0] * 5
    versions = {folder.name: (folder / "number").read_text() for folder in (tmp_path / "m").iterdir()}
    assert versions == {str(number): str(number) for number in range(1, 51)}, json.dumps(versions)


def test_a_repository_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("in the way")
    with pytest.raises(ExportError, match="cannot be written"), staging(tmp_path, "m"):
        pass
