"""`--foreign-models`: whether graphs run that may do whatever TensorFlow can."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.repository import checksums as contents
from service.settings import Settings
from tests.support import procfs
from tests.support import saved_model_zoo as zoo
from tests.support.service_process import Service, running


@pytest.fixture
def repository(lenet5_repository: Path, tmp_path: Path) -> Path:
    """An export, one of which the fast form is missing, and two models of somebody else's."""
    shutil.copytree(lenet5_repository / "lenet5", tmp_path / "lenet5")
    graph = shutil.copytree(lenet5_repository / "lenet5", tmp_path / "graph_only") / "1"
    (graph / "model.tflite").unlink()
    contents.write(graph)
    zoo.write(tmp_path)
    (tmp_path / "lite" / "1").mkdir(parents=True)
    shutil.copy(lenet5_repository / "lenet5" / "1" / "model.tflite", tmp_path / "lite" / "1")
    return tmp_path


def served(service: Service) -> set[str]:
    return set(httpx.get(f"{service.url}/models").json()["models"])


def test_without_foreign_models_nothing_runs_but_our_own_lite_models(repository: Path, digit: bytes) -> None:
    with running("--repository", repository, "--no-foreign-models") as service:
        service.wait_until(lambda: "ready, serving" in service.log())
        assert served(service) == {"lenet5"}
        assert httpx.post(f"{service.url}/predict/lenet5", content=digit).json()["predictions"][0]["label"] == "7"
        for name, why in {"zoo": "was not exported", "lite": "was not exported", "graph_only": "needs Tensor"}.items():
            said = httpx.post(f"{service.url}/predict/{name}", content=digit).json()["error"]["message"]
            assert why in said and "--foreign-models is off" in said
        maps = procfs.list_mapped(service.process.pid)
        assert "libtensorflow" not in maps


def test_with_them_all_run(repository: Path) -> None:
    with running("--repository", repository) as service:
        service.wait_until(lambda: "ready, serving" in service.log())
        assert served(service) == {"lenet5", "graph_only", "zoo", "lite"}
        assert "libtensorflow" in procfs.list_mapped(service.process.pid)


def test_a_shape_that_would_abort_tensorflow_is_refused_before_it_runs(lenet5_repository: Path, tmp_path: Path) -> None:
    """Kernels end their process at ranks they were not built for; what a gateway lets through ends its upstream."""
    image = [[[1, 2, 3]] * 28] * 28
    (tmp_path / "models" / "graph" / "1").mkdir(parents=True)
    shutil.copy(lenet5_repository / "lenet5" / "1" / "saved_model.pb", tmp_path / "models" / "graph" / "1")
    with running("--repository", tmp_path / "models") as upstream:
        upstream.wait_ready()
        target = f"127.0.0.1:{upstream.grpc_port}"
        with running("--backend", "tfserving", "--target", target, "--repository", tmp_path / "none") as gateway:
            gateway.wait_ready()
            for service in (gateway, upstream):
                body: dict[str, Any] = {"signature_name": "image"}
                for images in ([1], image, [[[image]]]):
                    body["instances"] = images
                    reply = httpx.post(f"{service.url}/v1/models/graph:predict", json=body, timeout=30)
                    assert reply.status_code == 400 and "takes shape [N, " in reply.json()["error"], reply.text
                body["instances"] = [image]
                reply = httpx.post(f"{service.url}/v1/models/graph:predict", json=body, timeout=30)
                assert reply.status_code == 200, reply.text


def test_an_upstream_is_not_told_what_to_run() -> None:
    with pytest.raises(ValueError, match="--no-foreign-models needs --backend embedded"):
        Settings.model_validate({"backend": "tfserving", "target": "localhost:8500", "foreign_models": "off"})
