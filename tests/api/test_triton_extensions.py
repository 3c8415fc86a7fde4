"""Triton's own clients ask for what Triton has beside the protocol: configurations, statistics, streams."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http

from service.protobuf.stubs import oip_pb2, oip_pb2_grpc
from service.types import strings
from tests.support import saved_model_zoo as zoo
from tests.support.images import encode
from tests.support.service_process import Service
from tests.support.testdata import needs_testdata


@pytest.fixture(params=["http", "grpc"])
def triton(request: pytest.FixtureRequest) -> Any:
    return {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]


@pytest.fixture
def ask(service: Service, triton: Any) -> Iterator[Any]:
    port = service.http_port if triton is tritonclient.http else service.grpc_port
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        yield client


def read_config(ask: Any, name: str, version: str = "") -> dict[str, Any]:
    if isinstance(ask, tritonclient.http.InferenceServerClient):
        return dict(ask.get_model_config(name, version))
    return dict(ask.get_model_config(name, version, as_json=True)["config"])


def read_statistics(ask: Any, name: str = "", version: str = "") -> list[dict[str, Any]]:
    if isinstance(ask, tritonclient.http.InferenceServerClient):
        return list(ask.get_inference_statistics(name, version)["model_stats"])
    return list(ask.get_inference_statistics(name, version, as_json=True).get("model_stats", []))


def test_the_configuration_says_what_a_request_may_be(ask: Any) -> None:
    for version in ("", "1", "float32"):
        config = read_config(ask, "lenet5", version)
        assert (config["name"], config["max_batch_size"]) == ("lenet5", 1024)
        (image,), (probabilities, classes) = config["input"], config["output"]
        assert (image["name"], image["data_type"], list(map(int, image["dims"]))) == ("image_bytes", "TYPE_STRING", [1])
        assert "reshape" in image
        assert (probabilities["data_type"], list(map(int, probabilities["dims"]))) == ("TYPE_FP32", [10])
        assert (classes["data_type"], list(map(int, classes["dims"]))) == ("TYPE_STRING", [10])
    assert "statistics" in str(ask.get_server_metadata())


@needs_testdata
def test_the_configuration_of_anybodys_model(ask: Any) -> None:
    config = read_config(ask, "half_plus_two")
    (x,) = config["input"]
    assert config["max_batch_size"] == 1024 and (x["data_type"], list(map(int, x["dims"]))) == ("TYPE_FP32", [1])


@pytest.mark.parametrize("shape", [(2,), (2, 1)], ids=str)
def test_one_value_a_row_comes_with_and_without_a_dimension(
    ask: Any, triton: Any, samples: dict[str, bytes], shape: tuple[int, ...]
) -> None:
    images = strings([samples["7"], samples["3"]]).reshape(shape)
    sent = triton.InferInput("image_bytes", list(shape), "BYTES").set_data_from_numpy(images)
    assert ask.infer("lenet5", [sent]).as_numpy("probabilities").argmax(axis=1).tolist() == [7, 3]
    numbers = triton.InferInput("a", [2, 2], "FP32").set_data_from_numpy(np.zeros((2, 2), np.float32))
    texts = triton.InferInput("s", list(shape), "BYTES").set_data_from_numpy(strings([b"x", b"y"]).reshape(shape))
    assert ask.infer(zoo.NAME, [numbers, texts]).as_numpy("s").ravel().tolist() == [b"x", b"y"]


def test_statistics_count_what_happened(ask: Any, triton: Any, samples: dict[str, bytes]) -> None:
    def count() -> dict[str, int]:
        (found,) = read_statistics(ask, "lenet5", "1")
        stages = {stage: int(one.get("count", 0)) for stage, one in found["inference_stats"].items()}
        return {"rows": int(found.get("inference_count", 0)), "runs": int(found.get("execution_count", 0))} | stages

    images = strings([samples["7"], samples["3"]])
    before = count()
    ask.infer("lenet5", [triton.InferInput("image_bytes", [2], "BYTES").set_data_from_numpy(images)])
    with pytest.raises(tritonclient.utils.InferenceServerException):
        bad = strings([b"no image"])
        ask.infer("lenet5", [triton.InferInput("image_bytes", [1], "BYTES").set_data_from_numpy(bad)])
    after = count()
    more = {name: after[name] - before[name] for name in after}
    assert (more["rows"], more["runs"], more["success"], more["fail"]) == (2, 1, 1, 1)
    assert more["queue"] == more["compute_input"] == more["compute_infer"] == 1
    (found,) = read_statistics(ask, "lenet5")
    stages = found["inference_stats"]
    spent = sum(int(stages[stage]["ns"]) for stage in ("queue", "compute_input", "compute_infer"))
    assert 0 < int(stages["compute_infer"]["ns"]) < spent <= int(stages["success"]["ns"])


def test_statistics_of_all_models_and_of_none(ask: Any, client: httpx.Client) -> None:
    assert {"lenet5", zoo.NAME} <= {found["name"] for found in read_statistics(ask)}
    for path in ("/v2/models/nobody/stats", "/v2/models/nobody/config", "/v2/models/lenet5/versions/9/stats"):
        assert client.get(path).status_code == 404, path
    assert "version" in client.get("/v2/models/lenet5/versions/x/stats").json()["error"]
    with pytest.raises(tritonclient.utils.InferenceServerException, match="nobody"):
        read_statistics(ask, "nobody")


@pytest.fixture
def stream(service: Service) -> Iterator[tuple[Any, "queue.Queue[tuple[Any, Any]]"]]:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        yield client, answers
        client.stop_stream(cancel_requests=True)


def make_images(*encoded: bytes) -> list[Any]:
    return [
        tritonclient.grpc.InferInput("image_bytes", [len(encoded)], "BYTES").set_data_from_numpy(strings(list(encoded)))
    ]


def test_a_stream_answers_in_order_and_goes_on_after_an_error(stream: Any, samples: dict[str, bytes]) -> None:
    client, answers = stream
    asked = ["7", "3", "no image", "5", "no model", "1"] * 6
    for turn, what in enumerate(asked):
        model = "nobody" if what == "no model" else "lenet5"
        client.async_stream_infer(model, make_images(samples.get(what, b"no image")), request_id=str(turn))
    for turn, what in enumerate(asked):
        result, error = answers.get(timeout=30)
        if what in samples:
            assert error is None and result.as_numpy("probabilities").argmax() == int(what)
            assert result.get_response().id == str(turn)
            assert result.get_response().parameters["triton_final_response"].bool_param
        else:
            assert ("nobody" if what == "no model" else "no JPEG") in error.message()


async def test_the_asynchronous_clients_stream(service: Service, samples: dict[str, bytes]) -> None:
    async def requests() -> Any:
        for digit in "735":
            yield {"model_name": "lenet5", "inputs": make_images(samples[digit])}

    async with tritonclient.grpc.aio.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as client:
        answers = [result.as_numpy("probabilities").argmax() async for result, _ in client.stream_infer(requests())]
    assert answers == [7, 3, 5]


def test_each_message_of_a_stream_is_counted(service: Service, stream: Any, samples: dict[str, bytes]) -> None:
    def counted(code: str) -> float:
        labels = f'{{code="{code}",model="lenet5",protocol="grpc",version="1"}}'
        return service.metric(f"model_server_requests_total{labels}")

    client, answers = stream
    before = counted("OK"), counted("INVALID_INPUT")
    for body in (samples["7"], b"no image", samples["3"]):
        client.async_stream_infer("lenet5", make_images(body))
    for _ in range(3):
        answers.get(timeout=30)
    assert (counted("OK"), counted("INVALID_INPUT")) == (before[0] + 2, before[1] + 1)
    assert service.metric("model_server_requests_in_flight") == 0


def test_a_stream_ends_at_what_is_no_message(service: Service) -> None:
    method = "/inference.GRPCInferenceService/ModelStreamInfer"
    with service.channel() as channel:
        send: Any = channel.stream_stream(method)
        call = send(iter([b"\xff\xff"]), timeout=30)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() is grpc.StatusCode.INTERNAL and "no message" in str(caught.value.details())


def test_a_stream_that_sends_nothing_ends_with_its_client(service: Service) -> None:
    with service.channel() as channel:
        assert list(oip_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter(()), timeout=30)) == []


def test_a_stream_that_is_cancelled_gives_up_its_questions(service: Service, stream: Any) -> None:
    def cancelled() -> float:
        labels = '{code="CANCELLED",model="lenet5",protocol="grpc",version="1"}'
        return service.metric(f"model_server_requests_total{labels}")

    client, _ = stream
    slow = make_images(*[encode(np.zeros((2000, 2000, 3), np.uint8))] * 60)
    before = cancelled()
    for _ in range(2):
        client.async_stream_infer("lenet5", slow)
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 2, 20)
    client.stop_stream(cancel_requests=True)
    service.wait_until(lambda: cancelled() == before + 2, 20)


def test_a_streams_deadline_ends_it(service: Service, samples: dict[str, bytes]) -> None:
    image = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [samples["7"]]}}
    request = oip_pb2.ModelInferRequest(model_name="lenet5", inputs=[image])
    ended = threading.Event()

    def ask() -> Iterator[Any]:
        yield request
        ended.wait(30)

    with service.channel() as channel:
        answers = oip_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(ask(), timeout=2)
        assert next(answers).infer_response.model_name == "lenet5"
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        ended.set()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_pytritons_client_works(service: Service, samples: dict[str, bytes], scheme: str) -> None:
    pytriton = pytest.importorskip("pytriton.client", reason="nvidia-pytriton is not installed")
    port = service.http_port if scheme == "http" else service.grpc_port
    with pytriton.ModelClient(f"{scheme}://127.0.0.1:{port}", "lenet5") as model:
        answers = model.infer_batch(strings([samples["7"], samples["3"]]).reshape(2, 1))
    assert answers["probabilities"].argmax(axis=1).tolist() == [7, 3]


def test_loading_is_refused_in_words(client: httpx.Client) -> None:
    reply = client.post("/v2/repository/models/lenet5/load")
    assert reply.status_code == 501 and "model repository" in reply.json()["error"]
