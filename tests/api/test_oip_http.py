"""Triton's own HTTP clients against us, unmodified, and what else Open Inference Protocol says of HTTP."""

import base64
import json
import math
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from service.types import Array, strings
from tests.support import saved_model_zoo as zoo
from tests.support.images import encode, photo
from tests.support.service_process import Service
from tests.support.testdata import needs_testdata

BINARY_SIZE = "binary_data_size"
PIXELS = photo()[:28, :28][np.newaxis]


@pytest.fixture
def ask(service: Service) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{service.http_port}", concurrency=4) as client:
        yield client


def tensor(name: str, array: Array, datatype: str, binary: bool = True) -> Any:
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def images(*encoded: bytes) -> list[Any]:
    return [tensor("image_bytes", strings(list(encoded)), "BYTES")]


def wanted(name: str, **parameters: Any) -> Any:
    return triton.InferRequestedOutput(name, **parameters)


def digits(result: Any) -> list[str]:
    return [str(row.argmax()) for row in result.as_numpy("probabilities")]


def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        call()
    return str(caught.value.status()), str(caught.value.message())


def test_health_and_metadata(ask: Any) -> None:
    assert ask.is_server_live() and ask.is_server_ready()
    assert ask.is_model_ready("lenet5") and ask.is_model_ready("lenet5", "1")
    assert not ask.is_model_ready("nobody") and not ask.is_model_ready("lenet5", "9")
    server = ask.get_server_metadata()
    assert server["name"] == "image-model-server" and re.match(r"\d+\.\d+", server["version"])
    assert {"binary_tensor_data", "classification", "model_configuration", "statistics"} <= set(server["extensions"])
    for described in (ask.get_model_metadata("lenet5"), ask.get_model_metadata("lenet5", "1")):
        assert described == {
            "name": "lenet5",
            "versions": ["1"],
            "platform": "tensorflow",
            "inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1, 1]}],
            "outputs": [
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
                {"name": "classes", "datatype": "BYTES", "shape": [-1, 10]},
            ],
        }
    assert refused(lambda: ask.get_model_metadata("nobody"))[0] == "404"


def test_probes_without_a_client(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/lenet5/ready").json() == {"name": "lenet5", "ready": True}
    assert client.head("/v2/health/ready").status_code == client.head("/v2/models/lenet5/ready").status_code == 200


def test_the_repositorys_index(ask: Any, client: httpx.Client) -> None:
    row = {"name": "lenet5", "version": "1", "state": "READY", "reason": ""}
    assert row in ask.get_model_repository_index()
    assert row in client.post("/v2/repository/index", json={"ready": True}).json()
    assert client.post("/v2/repository/index", json={"ready": 1}).status_code == 400


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
def test_images_in_labels_out(ask: Any, samples: dict[str, bytes], binary: bool) -> None:
    outputs = [wanted("probabilities", binary_data=binary), wanted("classes", binary_data=binary)]
    result = ask.infer("lenet5", images(samples["7"], samples["3"]), outputs=outputs, request_id="a-1")
    assert digits(result) == ["7", "3"]
    assert result.as_numpy("classes")[1].tolist() == [
        str(digit).encode() if binary else str(digit) for digit in range(10)
    ]
    reply = result.get_response()
    assert (reply["model_name"], reply["model_version"], reply["id"]) == ("lenet5", "1", "a-1")
    assert [output["name"] for output in reply["outputs"]] == ["probabilities", "classes"]
    assert all(("data" in output) is not binary for output in reply["outputs"])


def test_every_output_comes_as_bytes_unless_named(ask: Any, samples: dict[str, bytes]) -> None:
    reply = ask.infer("lenet5", images(samples["7"])).get_response()
    assert [output["parameters"]["binary_data_size"] for output in reply["outputs"]] == [40, 50]
    assert "id" not in reply
    mixed = [wanted("classes", binary_data=False), wanted("probabilities")]
    result = ask.infer("lenet5", images(samples["7"]), outputs=mixed)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["classes", "probabilities"]
    assert result.as_numpy("classes").shape == (1, 10) and digits(result) == ["7"]


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
def test_the_inputs_names_choose_the_signature(ask: Any, samples: dict[str, bytes], binary: bool) -> None:
    by_image = ask.infer("lenet5", images(encode(PIXELS[0])))
    by_pixels = ask.infer("lenet5", [tensor("image", PIXELS, "UINT8", binary)])
    np.testing.assert_array_equal(by_pixels.as_numpy("probabilities"), by_image.as_numpy("probabilities"))
    assert by_pixels.as_numpy("classes") is None
    numbers = [tensor("tensor", np.zeros((2, 28, 28, 1), np.float32), "FP32", binary)]
    named = ask.infer("lenet5", numbers, parameters={"signature_name": "tensor"})
    np.testing.assert_array_equal(
        named.as_numpy("probabilities"), ask.infer("lenet5", numbers).as_numpy("probabilities")
    )


@needs_testdata
def test_inputs_that_several_signatures_take_need_its_name(ask: Any) -> None:
    result = ask.infer("half_plus_two", [tensor("x", np.asarray([[2]], np.float32), "FP32")])
    assert result.as_numpy("y").tolist() == [[3.0]] and result.get_response()["model_version"] == "123"
    sent = [tensor("inputs", strings([b"no example"]), "BYTES")]
    status, message = refused(lambda: ask.infer("half_plus_two", sent))
    assert status == "400" and "signature_name" in message and "classify_x_to_y" in message


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
@pytest.mark.parametrize("dtype", zoo.DTYPES)
@pytest.mark.parametrize("shape", [(2, 2), (), (0, 3)], ids=str)
def test_every_datatype_there_and_back(ask: Any, dtype: str, shape: tuple[int, ...], binary: bool) -> None:
    numbers = np.asarray([0, 1, 2, 100])[: math.prod(shape)].reshape(shape)
    array = numbers.astype(str).astype("S").astype(object) if dtype == "string" else numbers.astype(dtype)
    sent = [tensor("x", array, np_to_triton_dtype(array.dtype), binary)]
    outputs = [wanted("y", binary_data=binary)]
    back = ask.infer(zoo.NAME, sent, outputs=outputs, parameters={"signature_name": f"echo_{dtype}"}).as_numpy("y")
    assert back.shape == shape
    texts = [value if isinstance(value, bytes) else str(value).encode() for value in back.ravel()]
    assert texts == list(array.ravel()) if dtype == "string" else np.array_equal(back, array)


def test_what_json_cannot_spell(ask: Any, client: httpx.Client) -> None:
    """NaN is null, which Triton's client reads as NaN again; bytes that are no text have to be asked for as bytes."""
    endless = [tensor("x", np.asarray([1, np.nan, np.inf], np.float32), "FP32")]
    outputs = [wanted("y", binary_data=False)]
    result = ask.infer(zoo.NAME, endless, outputs=outputs, parameters={"signature_name": "echo_float32"})
    assert result.get_output("y")["data"] == [1, None, None]
    np.testing.assert_array_equal(result.as_numpy("y"), [1, np.nan, np.nan])
    sent, named = [tensor("x", strings([b"\xff"]), "BYTES")], {"signature_name": "echo_string"}
    assert "binary_data" in refused(lambda: ask.infer(zoo.NAME, sent, outputs=outputs, parameters=named))[1]
    assert ask.infer(zoo.NAME, sent, parameters=named).as_numpy("y").tolist() == [b"\xff"]


def test_inputs_with_defaults_and_none_at_all(ask: Any) -> None:
    x = [tensor("x", np.asarray([1], np.float32), "FP32")]
    result = ask.infer(zoo.NAME, x, parameters={"signature_name": "a_default"})
    assert (result.as_numpy("x").tolist(), result.as_numpy("b").tolist()) == ([1], 7)
    assert ask.infer(zoo.NAME, [], parameters={"signature_name": "no_inputs"}).as_numpy("y") == 2.5
    assert "['x']" in refused(lambda: ask.infer(zoo.NAME, [], parameters={"signature_name": "a_scalar"}))[1]


def test_a_rank_nobody_knows_is_shown_as_one_size(ask: Any) -> None:
    described = ask.get_model_metadata(zoo.NAME)
    assert {one["name"]: one["shape"] for one in described["inputs"]} == {"a": [-1, 2], "s": [-1, 1]}


def test_classes_instead_of_numbers(ask: Any, samples: dict[str, bytes]) -> None:
    for binary in (True, False):
        best = wanted("probabilities", class_count=3, binary_data=binary)
        result = ask.infer("lenet5", images(samples["7"], samples["3"]), outputs=[best])
        found = result.as_numpy("probabilities").astype(str)
        assert found.shape == (2, 3)
        fields = [text.removeprefix("b'").split(":") for text in found[:, 0]]
        assert [(index, label.rstrip("'")) for _, index, label in fields] == [("7", "7"), ("3", "3")]
        assert all(0.3 < float(value) <= 1 for value, _, _ in fields)
    outputs = [wanted("classes", class_count=1)]
    assert "text" in refused(lambda: ask.infer("lenet5", images(samples["7"]), outputs=outputs))[1]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_requests_may_be_compressed(ask: Any, samples: dict[str, bytes], coding: str) -> None:
    sent = images(samples["7"], samples["3"])
    assert digits(ask.infer("lenet5", sent, request_compression_algorithm=coding)) == ["7", "3"]
    pixels = [tensor("image", PIXELS, "UINT8", False)]
    both = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
    assert ask.infer("lenet5", pixels, **both).as_numpy("probabilities").shape == (1, 10)
    behind = ask.async_infer("lenet5", sent, **both).get_result()
    assert digits(behind) == ["7", "3"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_replies_are_compressed_for_those_who_ask(
    service: Service, ask: Any, samples: dict[str, bytes], coding: str
) -> None:
    many = images(*[samples["7"]] * 64)
    plain = ask.infer("lenet5", many)
    result = ask.infer("lenet5", many, response_compression_algorithm=coding)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), plain.as_numpy("probabilities"))
    body = {"inputs": [{"name": "image", "shape": [1, 28, 28, 3], "datatype": "UINT8", "data": PIXELS.tolist()}]}
    with httpx.stream("POST", f"{service.url}/v2/models/lenet5/infer", json=body) as reply:
        assert "content-encoding" not in reply.headers  # httpx names every coding that it could read
    with httpx.stream(
        "POST", f"{service.url}/v2/models/lenet5/infer", json=body, headers={"accept-encoding": coding}
    ) as reply:
        assert reply.headers["content-encoding"] == coding and reply.headers["vary"] == "Accept-Encoding"
        assert json.loads(reply.read())["outputs"][0]["shape"] == [1, 10]


def test_calls_of_the_background_and_plugins_work(ask: Any, samples: dict[str, bytes]) -> None:
    calls = [(digit, ask.async_infer("lenet5", images(samples[digit]))) for digit in "7337"]
    assert [digits(call.get_result()) for _, call in calls] == [[digit] for digit, _ in calls]


async def test_the_asynchronous_client(service: Service, samples: dict[str, bytes]) -> None:
    async with tritonclient.http.aio.InferenceServerClient(f"127.0.0.1:{service.http_port}") as ask:
        assert await ask.is_server_live() and await ask.is_server_ready() and await ask.is_model_ready("lenet5", "1")
        assert (await ask.get_server_metadata())["name"] == "image-model-server"
        assert (await ask.get_model_metadata("lenet5"))["versions"] == ["1"]
        assert (await ask.get_model_repository_index())[-1]["state"] == "READY"
        for coding in (None, "gzip", "deflate"):
            both = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
            assert digits(await ask.infer("lenet5", images(samples["3"]), "1", **both)) == ["3"]
        with pytest.raises(InferenceServerException, match="404"):
            await ask.infer("nobody", images(samples["3"]))


def test_a_version_may_be_a_label(ask: Any, samples: dict[str, bytes]) -> None:
    assert ask.infer("lenet5", images(samples["7"]), "float32").get_response()["model_version"] == "1"
    status, message = refused(lambda: ask.infer("lenet5", images(samples["7"]), "int8"))
    assert status == "400" and "labels here: ['float32']" in message


def test_what_triton_has_and_this_does_not_says_so(ask: Any, samples: dict[str, bytes]) -> None:
    status, message = refused(lambda: ask.register_system_shared_memory("region", "/key", 64))
    assert status == "501" and "shared memory" in message
    shared = triton.InferInput("image", [1, 28, 28, 3], "UINT8").set_shared_memory("region", 2352)
    assert refused(lambda: ask.infer("lenet5", [shared]))[0] == "501"
    output = wanted("probabilities")
    output.set_shared_memory("region", 40)
    assert refused(lambda: ask.infer("lenet5", images(samples["7"]), outputs=[output]))[0] == "501"
    for absent in (
        lambda: ask.load_model("lenet5"),
        lambda: ask.unload_model("lenet5"),
        ask.get_log_settings,
        ask.get_trace_settings,
    ):
        status, message = refused(absent)
        assert status == "501" and "\n" not in message


def test_a_file_is_a_request_where_one_tensor_is_enough(client: httpx.Client, samples: dict[str, bytes]) -> None:
    """`curl --data-binary @seven.png`, with a header that says: no JSON."""
    headers = {"inference-header-content-length": "0"}
    reply = client.post("/v2/models/lenet5/infer", content=samples["7"], headers=headers).json()
    assert reply["outputs"][0]["data"].index(max(reply["outputs"][0]["data"])) == 7


@needs_testdata
def test_numbers_alone_fill_the_one_unknown_size(client: httpx.Client) -> None:
    def sent(body: bytes) -> httpx.Response:
        return client.post(
            "/v2/models/half_plus_two/infer", content=body, headers={"inference-header-content-length": "0"}
        )

    none = client.post(f"/v2/models/{zoo.NAME}/infer", content=b"", headers={"inference-header-content-length": "0"})
    assert none.status_code == 400 and "['a', 's']" in none.json()["error"]
    (output,) = sent(np.asarray([2, 4, 6], np.float32).tobytes()).json()["outputs"]
    assert output["data"] == [3, 4, 5] and output["shape"] == [3, 1]
    assert "8 bytes, got 9" in sent(b"\0" * 9).json()["error"]


def test_images_as_base64_in_json(client: httpx.Client, samples: dict[str, bytes]) -> None:
    image = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    text = base64.b64encode(samples["7"]).decode()
    reply = client.post("/v2/models/lenet5/infer", json={"inputs": [image | {"data": [[text]]}]}).json()
    assert reply["outputs"][0]["data"].index(max(reply["outputs"][0]["data"])) == 7
    refused = client.post("/v2/models/lenet5/infer", json={"inputs": [image | {"data": ["!"]}]})
    assert refused.status_code == 400 and "base64" in refused.json()["error"]


def test_a_client_that_hangs_up_is_not_answered(service: Service, client: httpx.Client) -> None:
    def cancelled() -> float:
        series = 'model_server_requests_total{code="CANCELLED",model="lenet5",protocol="http",version="1"}'
        return service.metric(series)

    # Some 100 ms of decoding each: left alone, they would take longer than any machine takes to notice the hang-up.
    slow = strings([encode(np.zeros((2000, 2000, 3), np.uint8))] * 60)
    body, length = triton.InferenceServerClient.generate_request_body([tensor("image_bytes", slow, "BYTES")])
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 0, 20)
    before = cancelled()
    with socket.create_connection(("127.0.0.1", service.http_port)) as wire:
        head = (
            f"POST /v2/models/lenet5/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
            f"inference-header-content-length: {length}\r\n\r\n"
        )
        wire.sendall(head.encode() + body)
        service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 1, 10)
        time.sleep(0.1)  # so that the body is read
    service.wait_until(lambda: cancelled() == before + 1, 20)
    assert "Traceback" not in service.log()


def test_the_documentation_has_it(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    infer = paths["/v2/models/{model}/infer"]["post"]
    assert set(infer["responses"]) == {"200", "default"}
    assert not any("sharedmemory" in path for path in paths), "what is not served is not documented either"
