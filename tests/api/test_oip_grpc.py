"""Triton's own gRPC clients against us, unmodified."""

import math
import queue
import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from service.protobuf.stubs import oip_pb2, oip_pb2_grpc
from service.types import Array, strings
from tests.support import saved_model_zoo as zoo
from tests.support.images import encode, photo
from tests.support.service_process import Service
from tests.support.testdata import needs_testdata

PIXELS = photo()[:28, :28][np.newaxis]


@pytest.fixture
def ask(service: Service) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as client:
        yield client


@pytest.fixture
def stub(service: Service) -> Iterator[Any]:
    with service.channel() as channel:
        yield oip_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensor(name: str, array: Array, datatype: str) -> Any:
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def images(*encoded: bytes) -> list[Any]:
    return [tensor("image_bytes", strings(list(encoded)), "BYTES")]


def digits(result: Any) -> list[str]:
    return [str(row.argmax()) for row in result.as_numpy("probabilities")]


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        call()
    return str(caught.value.status()).removeprefix("StatusCode."), str(caught.value.message())


def code_of(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details() or ""


def test_health_and_metadata(ask: Any) -> None:
    assert ask.is_server_live() and ask.is_server_ready()
    assert ask.is_model_ready("lenet5") and ask.is_model_ready("lenet5", "1")
    assert not ask.is_model_ready("nobody") and not ask.is_model_ready("lenet5", "9")
    server = ask.get_server_metadata()
    assert server.name == "image-model-server" and "binary_tensor_data" in server.extensions
    described = ask.get_model_metadata("lenet5")
    assert (described.name, list(described.versions), described.platform) == ("lenet5", ["1"], "tensorflow")
    assert [(one.name, one.datatype, list(one.shape)) for one in (*described.inputs, *described.outputs)] == [
        ("image_bytes", "BYTES", [-1, 1]),
        ("probabilities", "FP32", [-1, 10]),
        ("classes", "BYTES", [-1, 10]),
    ]
    assert refused(lambda: ask.get_model_metadata("nobody"))[0] == "NOT_FOUND"
    assert refused(lambda: ask.get_model_metadata(""))[0] == "INVALID_ARGUMENT"


def test_the_health_service_knows_it(service: Service) -> None:
    with service.channel() as channel:
        request = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
        reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_the_repositorys_index(ask: Any, stub: Any) -> None:
    for rows in (
        ask.get_model_repository_index().models,
        stub.RepositoryIndex(oip_pb2.RepositoryIndexRequest(ready=True)).models,
    ):
        assert ("lenet5", "1", "READY") in [(row.name, row.version, row.state) for row in rows]


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_images_in_labels_out(ask: Any, samples: dict[str, bytes], coding: str | None) -> None:
    result = ask.infer("lenet5", images(samples["7"], samples["3"]), request_id="a-1", compression_algorithm=coding)
    assert digits(result) == ["7", "3"]
    assert result.as_numpy("classes")[1].tolist() == [str(digit).encode() for digit in range(10)]
    reply = result.get_response()
    assert (reply.model_name, reply.model_version, reply.id) == ("lenet5", "1", "a-1")


def test_outputs_are_picked_and_ranked(ask: Any, samples: dict[str, bytes]) -> None:
    result = ask.infer(
        "lenet5", images(samples["7"]), outputs=[triton.InferRequestedOutput("probabilities", class_count=2)]
    )
    ((first, second),) = result.as_numpy("probabilities")
    assert re.fullmatch(rb"[01]\.\d+:7:7", first) and float(second.split(b":")[0]) <= float(first.split(b":")[0])
    assert result.as_numpy("classes") is None
    text = [triton.InferRequestedOutput("classes", class_count=1)]
    assert "text" in refused(lambda: ask.infer("lenet5", images(samples["7"]), outputs=text))[1]
    unknown = [triton.InferRequestedOutput("nope")]
    code, message = refused(lambda: ask.infer("lenet5", images(samples["7"]), outputs=unknown))
    assert code == "INVALID_ARGUMENT" and "['classes', 'probabilities']" in message


def test_the_inputs_names_choose_the_signature(ask: Any) -> None:
    by_image = ask.infer("lenet5", images(encode(PIXELS[0])))
    by_pixels = ask.infer("lenet5", [tensor("image", PIXELS, "UINT8")])
    np.testing.assert_array_equal(by_pixels.as_numpy("probabilities"), by_image.as_numpy("probabilities"))
    numbers = [tensor("tensor", np.zeros((2, 28, 28, 1), np.float32), "FP32")]
    named = ask.infer("lenet5", numbers, parameters={"signature_name": "tensor"})
    np.testing.assert_array_equal(
        named.as_numpy("probabilities"), ask.infer("lenet5", numbers).as_numpy("probabilities")
    )
    code, message = refused(lambda: ask.infer("lenet5", numbers, parameters={"signature_name": 7}))
    assert code == "INVALID_ARGUMENT" and "signature_name" in message


@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("shape", [(2, 2), (), (0, 3)], ids=str)
def test_every_datatype_there_and_back(ask: Any, dtype: str, shape: tuple[int, ...]) -> None:
    numbers = np.asarray([0, 1, 2, 100])[: math.prod(shape)].reshape(shape)
    array = numbers.astype(str).astype("S").astype(object) if dtype == "string" else numbers.astype(dtype)
    sent = [tensor("x", array, np_to_triton_dtype(array.dtype))]
    back = ask.infer(zoo.NAME, sent, parameters={"signature_name": f"echo_{dtype}"}).as_numpy("y")
    assert back.shape == shape and np.array_equal(back, array)


def test_inputs_with_defaults_and_none_at_all(ask: Any) -> None:
    x = [tensor("x", np.asarray([1], np.float32), "FP32")]
    result = ask.infer(zoo.NAME, x, parameters={"signature_name": "a_default"})
    assert (result.as_numpy("x").tolist(), result.as_numpy("b").tolist()) == ([1], 7)
    assert ask.infer(zoo.NAME, [], parameters={"signature_name": "no_inputs"}).as_numpy("y") == 2.5


@needs_testdata
def test_anybodys_model(ask: Any) -> None:
    result = ask.infer("half_plus_two", [tensor("x", np.asarray([[2], [4]], np.float32), "FP32")], "123")
    assert result.as_numpy("y").tolist() == [[3.0], [4.0]]


def test_a_version_may_be_a_label(ask: Any, samples: dict[str, bytes]) -> None:
    assert ask.infer("lenet5", images(samples["7"]), "float32").get_response().model_version == "1"
    code, message = refused(lambda: ask.infer("lenet5", images(samples["7"]), "int8"))
    assert code == "INVALID_ARGUMENT" and "labels here: ['float32']" in message


def test_callbacks_and_futures(ask: Any, samples: dict[str, bytes]) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    ask.async_infer("lenet5", images(samples["7"]), lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=30)
    assert error is None and digits(result) == ["7"]


async def test_the_asynchronous_client(service: Service, samples: dict[str, bytes]) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as ask:
        assert await ask.is_server_live() and await ask.is_server_ready() and await ask.is_model_ready("lenet5", "1")
        assert (await ask.get_model_metadata("lenet5", as_json=True))["versions"] == ["1"]
        assert len((await ask.get_model_repository_index()).models) > 0
        for coding in (None, "gzip", "deflate"):
            assert digits(await ask.infer("lenet5", images(samples["3"]), compression_algorithm=coding)) == ["3"]
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            await ask.infer("nobody", images(samples["3"]))


def test_what_triton_has_and_this_does_not_says_so(service: Service, ask: Any, samples: dict[str, bytes]) -> None:
    for absent in (
        lambda: ask.register_system_shared_memory("region", "/key", 64),
        ask.get_system_shared_memory_status,
        ask.unregister_cuda_shared_memory,
        lambda: ask.load_model("lenet5"),
        lambda: ask.unload_model("lenet5"),
        ask.get_log_settings,
        ask.get_trace_settings,
    ):
        code, message = refused(absent)
        assert code == "UNIMPLEMENTED" and message and "\n" not in message
    shared = triton.InferInput("image", [1, 28, 28, 3], "UINT8").set_shared_memory("region", 2352)
    code, message = refused(lambda: ask.infer("lenet5", [shared]))
    assert code == "UNIMPLEMENTED" and "shared memory" in message
    output = triton.InferRequestedOutput("probabilities")
    output.set_shared_memory("region", 40)
    assert refused(lambda: ask.infer("lenet5", images(samples["7"]), outputs=[output]))[0] == "UNIMPLEMENTED"
    assert "Traceback" not in service.log()


def request(**fields: Any) -> Any:
    return oip_pb2.ModelInferRequest(model_name="lenet5", **fields)


def image(**changes: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28, 3]} | changes


def test_typed_contents_say_the_same_as_raw_ones(stub: Any, samples: dict[str, bytes]) -> None:
    """Raw contents are what Triton's client sends; the replies are raw either way."""
    typed = stub.ModelInfer(request(inputs=[image(contents={"uint_contents": PIXELS.ravel().tolist()})]))
    raw = stub.ModelInfer(request(inputs=[image()], raw_input_contents=[PIXELS.tobytes()]))
    assert typed.raw_output_contents == raw.raw_output_contents and len(raw.raw_output_contents[0]) == 40
    text = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [samples["7"]]}}
    reply = stub.ModelInfer(request(inputs=[text], outputs=[{"name": "probabilities"}]))
    assert np.frombuffer(reply.raw_output_contents[0], np.float32).argmax() == 7


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "no signature takes the inputs []"),
        ({"inputs": [image(), image()]}, "twice"),
        ({"inputs": [image()]}, "2,352 values, got 0"),
        ({"inputs": [image()], "raw_input_contents": [b"", b""]}, "2 tensors for 1 inputs"),
        ({"inputs": [image()], "raw_input_contents": [b"\0"]}, "2,352 bytes, got 1"),
        ({"inputs": [image(shape=[-1])], "raw_input_contents": [b"\0"]}, "from 0"),
        ({"inputs": [image(datatype="BF16")], "raw_input_contents": [b"\0\0"]}, "send FP32"),
        ({"inputs": [image(contents={})], "raw_input_contents": [b"\0"]}, "send one of them"),
        ({"inputs": [image(contents={"uint_contents": [256] * 2352})]}, "0 to 255"),
        ({"inputs": [image(name="nothing")]}, "image: ['image']"),
        (
            {
                "inputs": [image()],
                "outputs": [{"name": "probabilities", "parameters": {"classification": {"string_param": "5"}}}],
            },
            "whole number",
        ),
        ({"inputs": [image()], "model_version": "9" * 30}, "version"),
    ],
)
def test_bad_requests_say_what_to_send(stub: Any, fields: dict[str, Any], says: str) -> None:
    code, message = code_of(lambda: stub.ModelInfer(request(**fields), timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and says in message


def test_deadlines_and_large_requests(ask: Any, samples: dict[str, bytes]) -> None:
    code, _ = refused(lambda: ask.infer("lenet5", images(*[samples["3"]] * 500), client_timeout=0.001))
    assert code == "DEADLINE_EXCEEDED"
    large = images(*[encode(photo())] * 20)
    assert len(digits(ask.infer("lenet5", large, client_timeout=60))) == 20


def test_a_cancelled_call_is_counted_as_such(service: Service, ask: Any, samples: dict[str, bytes]) -> None:
    def cancelled() -> float:
        series = 'model_server_requests_total{code="CANCELLED",model="lenet5",protocol="grpc",version="1"}'
        return service.metric(series)

    # Some 100 ms of decoding each: left alone, they would take longer than any machine takes to notice the cancelling.
    slow = images(*[encode(np.zeros((2000, 2000, 3), np.uint8))] * 60)
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 0, 20)
    before = cancelled()
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    call = ask.async_infer("lenet5", slow, lambda result, error: answers.put((result, error)))
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 1, 10)
    call.cancel()
    service.wait_until(lambda: cancelled() == before + 1, 20)
    assert "CANCELLED" in str(answers.get(timeout=10)[1])
