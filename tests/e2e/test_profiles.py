"""A model from another machine: measured at its first load here, known at the next."""

import json
import re
import shutil
from pathlib import Path

import httpx
import pytest

from service.repository import checksums as contents
from service.repository.manifest import MANIFEST, SAMPLES
from tests.support.service_process import Service, running


@pytest.fixture
def from_elsewhere(lenet5_repository: Path, tmp_path: Path) -> Path:
    """The repository as an exporter on another machine would have left it."""
    shutil.copytree(lenet5_repository / "lenet5", tmp_path / "models" / "lenet5")
    file = tmp_path / "models" / "lenet5" / "1" / MANIFEST
    document = json.loads(file.read_text())
    assert document["profile"]["milliseconds"]["image"]["32"] > 0
    file.write_text(json.dumps(document | {"profile": document["profile"] | {"machine": "a larger one, 64 cores"}}))
    contents.write(file.parents[1])
    return tmp_path / "models"


def answers(service: Service, repository: Path) -> bool:
    sample = next((repository / "lenet5" / "1" / SAMPLES).iterdir())
    return httpx.post(f"{service.url}/predict/lenet5", content=sample.read_bytes()).status_code == 200


@pytest.mark.alone
def test_it_is_measured_once_in_under_two_seconds(from_elsewhere: Path, tmp_path: Path) -> None:
    arguments = ("--repository", from_elsewhere, "--cache-dir", tmp_path / "cache")
    with running(*arguments) as service:
        service.wait_ready()
        assert answers(service, from_elsewhere)
        (seconds,) = re.findall(r"lenet5/1/model.tflite: measured on this machine in (\S+) s", service.log())
        assert float(seconds) < 2
    assert len(list((tmp_path / "cache").iterdir())) == 1
    with running(*arguments) as service:
        service.wait_ready()
        assert answers(service, from_elsewhere)
        assert "measured on this machine" not in service.log()


def test_on_the_exporters_own_machine_nothing_is_measured(lenet5_repository: Path, tmp_path: Path) -> None:
    with running("--repository", lenet5_repository, "--cache-dir", tmp_path / "cache") as service:
        service.wait_ready()
        assert answers(service, lenet5_repository)
        assert "measured on this machine" not in service.log()
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_stops_nobody(from_elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with running("--repository", from_elsewhere, "--cache-dir", tmp_path / "file") as service:
        service.wait_ready()
        assert answers(service, from_elsewhere)
        assert "name a writable folder with --cache-dir" in service.log()
