"""Engines as operators meet them: chosen by a flag or a race, named in the log, in metrics and at /models."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.host.cpu import has_bfloat16
from service.repository import checksums
from service.repository.manifest import GOLDEN, MANIFEST, OPENVINO_INT8_GOLDEN, SAVED_MODEL, TFLITE
from tests.support import procfs
from tests.support import saved_model_zoo as zoo
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


def test_openvino_s_int8_answers_as_at_export_and_its_name_is_in_metrics_and_models(
    int8_repository: Path, tmp_path: Path
) -> None:
    shutil.copytree(int8_repository, tmp_path / "models")  # whose only file for OpenVINO is that in int8
    folder = tmp_path / "models" / "lenet5" / "1"
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"precision": "int8"}))
    checksums.write(folder)
    golden, wanted = np.load(folder / GOLDEN)["images"], np.load(folder / OPENVINO_INT8_GOLDEN)
    flags = ("--engine", "openvino", "--cache-dir", tmp_path / "cache")
    with running("--repository", tmp_path / "models", *flags) as service:
        service.wait_ready()
        told = httpx.get(f"{service.url}/models/lenet5").json()["manifest"]["profile"]
        assert (told["engine"], told["precision"], set(told["race"])) == (
            "openvino",
            "int8",
            {"litert", "openvino int8"},
        )
        info = 'model_server_engine_info{engine="openvino",model="lenet5",precision="int8",version="1"}'
        service.wait_until(lambda: service.metric(info) == 1)
        asked = {"instances": golden.tolist(), "signature_name": "image"}
        answers = httpx.post(f"{service.url}/v1/models/lenet5:predict", json=asked).json()["predictions"]
        np.testing.assert_allclose(answers, wanted, atol=1e-3)
        assert "lenet5/1 runs on openvino in int8: " in service.log()


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


def test_a_version_answers_while_engines_race_in_the_background(lenet5_repository: Path, tmp_path: Path) -> None:
    arguments = ("--repository", lenet5_repository, "--cache-dir", tmp_path / "cache", "--engine")
    with running(*arguments, "litert") as service:  # measures LiteRT, where the export was measured elsewhere
        service.wait_ready()
    held = os.open(tmp_path / "cache", os.O_RDONLY) if (tmp_path / "cache").is_dir() else None
    if held is None:  # nothing had to be measured
        (tmp_path / "cache").mkdir()
        held = os.open(tmp_path / "cache", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)  # as another process that measures
    with running(*arguments, "auto") as service:
        service.wait_ready()
        model = f"{service.url}/models/lenet5"
        assert httpx.get(model).json()["manifest"]["profile"]["racing"]
        assert answers(service)
        assert "lenet5/1: LiteRT runs it while the race goes on in the background" in service.log()
        os.close(held)
        while (profile := httpx.get(model).json()["manifest"]["profile"])["racing"]:
            assert answers(service)
        if profile["race"]:  # else the machine was too busy to compare
            assert set(profile["race"]) == {"litert", "openvino float32"}
        assert service.log().count(BEGINS) == 1
        service.wait_until(lambda: "lenet5/1 is unloaded" in service.log())
        assert answers(service)
        assert service.stop() == 0


def test_a_service_ends_at_once_in_the_middle_of_a_race(lenet5_repository: Path, tmp_path: Path) -> None:
    with running("--repository", lenet5_repository, "--engine", "auto", "--cache-dir", tmp_path / "cache") as service:
        service.wait_until(lambda: BEGINS in service.log())
        assert service.stop(seconds=15) == 0


def embed(images: Any) -> dict[str, Any]:
    return {"signature_name": "image", "inputs": {"image": images.tolist()}}


@pytest.fixture
def foreign(lenet5_repository: Path, tmp_path: Path) -> Path:
    """A graph of somebody else's, which is lenet5's, and one whose rows depend on each other."""
    folder = tmp_path / "models" / "graph" / "1"
    folder.mkdir(parents=True)
    shutil.copy(lenet5_repository / "lenet5" / "1" / SAVED_MODEL, folder)
    zoo.write_across(tmp_path / "models")
    return tmp_path / "models"


@pytest.mark.slow
def test_openvino_runs_a_foreign_graph_that_it_answers_as_tensorflow_does(
    foreign: Path, lenet5_repository: Path, tmp_path: Path
) -> None:
    with np.load(lenet5_repository / "lenet5" / "1" / GOLDEN) as arrays:
        question, wanted = embed(arrays["images"]), arrays["probabilities"]
    arguments = ("--repository", foreign, "--engine", "openvino", "--cache-dir", tmp_path / "cache")

    def check(service: Service) -> None:
        profile = httpx.get(f"{service.url}/models/graph").json()["manifest"]["profile"]
        assert (profile["engine"], profile["precision"]) == ("openvino", "float32")
        assert set(profile["race"]) == {"tensorflow float32", "openvino float32"}
        reply = httpx.post(f"{service.url}/v1/models/graph:predict", json=question).json()
        assert np.abs(np.array(reply["outputs"]) - wanted).max() < 0.01

    with running(*arguments) as service:
        service.wait_until(lambda: "ready, serving" in service.log())
        check(service)
        profile = httpx.get(f"{service.url}/models/across").json()["manifest"]["profile"]
        assert profile["engine"] == "tensorflow"
        assert profile["race"]["openvino float32"].startswith("its answers are not TensorFlow's: 'y' differs by")
    assert len(list((tmp_path / "cache").glob("*/network.xml"))) == 2
    shutil.rmtree(foreign / "across")
    with running(*arguments) as service:
        service.wait_ready()
        check(service)
        assert BEGINS not in service.log()
        assert len(list((tmp_path / "cache").glob("*/network.xml"))) == 1
        assert "libtensorflow" not in procfs.list_mapped(service.process.pid)
        answer = httpx.post(f"{service.url}/predict/graph", content=encode(photo(), "JPEG"), timeout=120)
        assert answer.status_code == 200  # by another signature, for which TensorFlow is loaded
        assert "libtensorflow" in procfs.list_mapped(service.process.pid)


@pytest.mark.slow
def test_tensorflow_runs_a_foreign_graph_until_the_race_is_decided(foreign: Path, tmp_path: Path) -> None:
    arguments = ("--repository", foreign, "--engine", "auto", "--precision", "fast", "--cache-dir", tmp_path / "cache")
    with running(*arguments) as service:
        service.wait_until(lambda: "ready, serving" in service.log())
        model, rows = f"{service.url}/models/graph", np.zeros((3, 28, 28, 3), np.uint8)
        assert httpx.get(model).json()["manifest"]["profile"]["racing"]
        while (profile := httpx.get(model).json()["manifest"]["profile"])["racing"]:
            assert httpx.post(f"{service.url}/v1/models/graph:predict", json=embed(rows)).status_code == 200
        assert {"tensorflow float32", "openvino float32"} <= set(profile["race"])
        assert ("tensorflow bfloat16" in profile["race"]) == has_bfloat16()
        assert httpx.post(f"{service.url}/v1/models/graph:predict", json=embed(rows)).status_code == 200


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
