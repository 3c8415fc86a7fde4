"""Engines as operators meet them: chosen by a flag or a race, named in the log, in metrics and at /models."""

import json
import shutil
from pathlib import Path

import httpx
import pytest

from service.repository import checksums
from service.repository.manifest import MANIFEST, TFLITE
from tests.support.images import encode, photo
from tests.support.service_process import Service, running

pytest.importorskip(
    "openvino_telemetry", reason="OpenVINO is not installed"
)  # not openvino: its import reports to Intel

BEGINS = "a race of engines begins"


def answers(service: Service) -> bool:
    return httpx.post(f"{service.url}/predict/lenet5", content=encode(photo(), "JPEG")).status_code == 200


def test_two_workers_race_once_and_say_what_runs(lenet5_repository: Path, tmp_path: Path) -> None:
    flags = ("--engine", "openvino", "--workers", 2, "--log-format", "json", "--cache-dir", tmp_path / "cache")
    with running("--repository", lenet5_repository, *flags) as service:
        service.wait_until(lambda: service.log().count("ready, serving") == 2)
        assert answers(service)
        profile = httpx.get(f"{service.url}/models/lenet5").json()["manifest"]["profile"]
        assert (profile["engine"], profile["precision"]) == ("openvino", "float32")
        assert set(profile["race"]) == {"litert", "openvino float32"}
        info = 'model_server_engine_info{engine="openvino",model="lenet5",precision="float32",version="1"}'
        service.wait_until(lambda: service.metric(info) == 2)
        lines = [json.loads(line) for line in service.log().splitlines()]  # and no library's line among them
    messages = [line["message"] for line in lines]
    assert sum(BEGINS in message for message in messages) == 1
    assert sum(message.startswith("lenet5/1 runs on openvino in float32: ") for message in messages) == 2


def test_a_race_that_is_killed_runs_again_and_a_version_that_changes_meanwhile_is_served_as_it_is(
    lenet5_repository: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    shutil.copytree(lenet5_repository, repository)
    arguments = ("--repository", repository, "--engine", "auto", "--cache-dir", tmp_path / "cache")
    with running(*arguments) as service:
        service.wait_until(lambda: BEGINS in service.log())
        service.process.kill()
    with running(*arguments) as service:
        service.wait_ready()
        assert BEGINS in service.log()
        assert answers(service)
        add_version(repository, 2, architecture="first")
        service.wait_until(lambda: f"lenet5/2: {BEGINS}" in service.log())
        shutil.rmtree(repository / "lenet5" / "2")
        add_version(repository, 2, architecture="second")
        versions = f"{service.url}/models/lenet5"
        service.wait_until(lambda: httpx.get(versions).json()["manifest"]["architecture"] == "second")
        assert answers(service)


def add_version(repository: Path, number: int, architecture: str) -> None:
    """Another network, for its file is another, and another architecture's by its manifest."""
    home = repository / "lenet5"
    shutil.copytree(home / "1", home / ".new")
    manifest = home / ".new" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"architecture": architecture}))
    with (home / ".new" / TFLITE).open("ab") as file:
        file.write(b"\0" * 16)
    checksums.write(home / ".new")
    (home / ".new").rename(home / str(number))


def test_an_engine_that_is_not_there_is_named_with_what_installs_it(lenet5_repository: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'openvino' else find(name, *rest)\n"
    )
    arguments = ("--repository", lenet5_repository, "--engine", "openvino")
    with running(*arguments, env={"PYTHONPATH": str(tmp_path)}) as service:
        assert service.process.wait(60) == 1
        assert "pip install 'image-model-server[openvino]'" in service.log()
