"""What Open Inference Protocol says of models that come, fail and go, on both ports of a service of its own."""

import queue
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from service.types import strings
from tests.support.service_process import running


def test_a_broken_version_is_unavailable_and_says_why(lenet5_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(lenet5_repository / "lenet5", tmp_path / "lenet5")
    shutil.copytree(lenet5_repository / "lenet5" / "1", tmp_path / "broken" / "7")
    (tmp_path / "broken" / "7" / "model.tflite").write_bytes(b"no model")
    with running("--repository", tmp_path) as service:
        service.wait_ready()
        http = tritonclient.http.InferenceServerClient(f"127.0.0.1:{service.http_port}")
        grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{service.grpc_port}")
        for rows in (http.get_model_repository_index(), grpc.get_model_repository_index(as_json=True)["models"]):
            broken, working = rows
            assert (working["name"], working["state"]) == ("lenet5", "READY")
            assert (broken["name"], broken["version"], broken["state"]) == ("broken", "7", "UNAVAILABLE")
            assert "model.tflite" in broken["reason"]
        for client in (http, grpc):
            assert client.is_server_ready() and not client.is_model_ready("broken")
            with pytest.raises(InferenceServerException, match="version 7 failed"):
                client.get_model_metadata("broken")
            client.close()


def test_a_service_that_drains_answers_and_is_not_ready(lenet5_repository: Path, samples: dict[str, bytes]) -> None:
    with running("--repository", lenet5_repository, "--drain-seconds", "20") as service:
        service.wait_ready()
        addresses = {tritonclient.http: service.http_port, tritonclient.grpc: service.grpc_port}
        service.process.send_signal(signal.SIGTERM)
        service.wait_until(lambda: "not ready any more" in service.log(), 10)
        for kind, port in addresses.items():
            with kind.InferenceServerClient(f"127.0.0.1:{port}") as client:
                assert client.is_server_live() and not client.is_server_ready() and not client.is_model_ready("lenet5")
                image = kind.InferInput("image_bytes", [1], "BYTES").set_data_from_numpy(strings([samples["7"]]))
                assert np.argmax(client.infer("lenet5", [image]).as_numpy("probabilities")) == 7


def test_an_open_stream_holds_up_no_end(lenet5_repository: Path, samples: dict[str, bytes]) -> None:
    image = tritonclient.grpc.InferInput("image_bytes", [1], "BYTES").set_data_from_numpy(strings([samples["7"]]))
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with running("--repository", lenet5_repository) as service:
        service.wait_ready()
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as client:
            client.start_stream(lambda result, error: answers.put((result, error)))
            client.async_stream_infer("lenet5", [image])
            assert answers.get(timeout=30)[1] is None
            assert service.stop(seconds=20) == 0
            assert answers.get(timeout=30)[1] is not None, "the stream ends too"
        assert "Traceback" not in service.log()


def test_routes_are_models_too(lenet5_repository: Path, tmp_path: Path, samples: dict[str, bytes]) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text("routes:\n  digits: lenet5\n  careful: {ensemble: {members: [lenet5, lenet5/1]}}\n")
    with running("--repository", lenet5_repository, "--routes", routes) as service:
        service.wait_ready()
        addresses = {tritonclient.http: service.http_port, tritonclient.grpc: service.grpc_port}
        for kind, port in addresses.items():
            image = kind.InferInput("image_bytes", [1], "BYTES").set_data_from_numpy(strings([samples["7"]]))
            with kind.InferenceServerClient(f"127.0.0.1:{port}") as client:
                for name in ("digits", "careful"):
                    assert client.is_model_ready(name)
                    assert fields(client.get_model_metadata(name))[:2] == (name, ["1"])
                    best = [kind.InferRequestedOutput("probabilities", class_count=1)]
                    result = client.infer(name, [image], outputs=best)
                    assert result.as_numpy("probabilities")[0, 0].endswith(b":7:7")
                    assert fields(result.get_response())[2:] == (name, "1")


def fields(message: Any) -> tuple[Any, ...]:
    """Name and versions of metadata, name and version of a reply: JSON's or protobuf's."""

    def get(key: str) -> Any:
        return message.get(key) if isinstance(message, dict) else getattr(message, key, None)

    return get("name"), list(get("versions") or ()), get("model_name"), get("model_version")
