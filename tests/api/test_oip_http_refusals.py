"""What is no request of the Open Inference Protocol over HTTP, and how that is told."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

BINARY_SIZE = "binary_data_size"


def pixels(**changes: Any) -> dict[str, Any]:
    return {"name": "image", "shape": [1, 28, 28, 3], "datatype": "UINT8", "data": [0] * 2352} | changes


def inputs(*tensors: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": list(tensors)} | more).encode()


@pytest.mark.parametrize(
    ("body", "length", "says"),
    [
        (b"", None, "not valid JSON"),
        (b"", "0", "empty"),
        (b"{", None, "not valid JSON"),
        (b"[" * 100_000, None, "not valid JSON"),
        (b"\xff\xfe", None, "not valid JSON"),
        (b"[]", None, "an object"),
        (b"{}", None, "no inputs"),
        (b'{"inputs": {}}', None, "list of objects"),
        (b'{"inputs": null}', None, "list of objects"),
        (b'{"inputs": []}', None, "image: ['image']"),
        (b'{"inputs": 7}', None, "list of objects"),
        (b'{"inputs": [7]}', None, "list of objects"),
        (inputs({}), None, "has a name"),
        (inputs(pixels(), pixels()), None, "twice"),
        (inputs(pixels(shape=None)), None, "shape"),
        (inputs(pixels(shape=[True])), None, "shape"),
        (inputs(pixels(shape=[-1, 28, 28, 3])), None, "from 0"),
        (inputs(pixels(shape=[10**400])), None, "from 0"),
        (inputs(pixels(shape=[2, 28, 28, 3])), None, "has 4,704 values, got 2,352"),
        (inputs(pixels(datatype=None)), None, "datatype"),
        (inputs(pixels(datatype="PIXEL")), None, "FP32"),
        (inputs(pixels(datatype="BF16")), None, "send FP32"),
        (inputs(pixels(datatype="FP32")), None, "takes uint8"),
        (inputs(pixels(data=None)), None, "needs data"),
        (inputs(pixels(data=[256] * 2352)), None, "0 to 255"),
        (inputs(pixels(data=["a"] * 2352)), None, "got text"),
        (inputs(pixels(data=[[1], [2, 3]])), None, "size 2 at level 1; expected size 1"),
        (inputs({"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [7]}), None, "takes string"),
        (inputs(pixels(parameters=7)), None, "parameters"),
        (inputs(pixels(parameters=[])), None, "parameters is an object"),
        (inputs(pixels(), parameters=""), None, "parameters is an object"),
        (inputs(pixels(), parameters={"signature_name": 7}), None, "signature_name"),
        (inputs(pixels(), parameters={"binary_data_output": 1}), None, "true or false"),
        (inputs(pixels(), id=7), None, "id is a string"),
        (inputs(pixels(), outputs=[{"name": "nope"}]), None, "['probabilities']"),
        (inputs(pixels(), outputs=[{"name": "probabilities"}] * 2), None, "twice"),
        (
            inputs(pixels(), outputs=[{"name": "probabilities", "parameters": {"classification": -1}}]),
            None,
            "whole number",
        ),
        (inputs(pixels(name="nothing")), None, "image: ['image']"),
        (inputs(pixels()), "x", "number of bytes"),
        (inputs(pixels()), "-1", "number of bytes"),
        (b"{}", "3", "says 3 bytes, the body has 2"),
        (inputs(pixels(parameters={"binary_data_size": 2352})), None, "0 are left"),
        (inputs(pixels(parameters={"binary_data_size": "2352"})), None, "whole number"),
        (inputs(pixels(parameters={"binary_data_size": -1})), None, "whole number"),
        (inputs(pixels()) + b"\0", None, "Inference-Header-Content-Length"),
        (inputs(pixels()) + b"\0", str(len(inputs(pixels()))), "1 bytes follow"),
    ],
)
def test_bad_bodies_say_what_to_send(client: httpx.Client, body: bytes, length: str | None, says: str) -> None:
    headers = {} if length is None else {"inference-header-content-length": length}
    reply = client.post("/v2/models/lenet5/infer", content=body, headers=headers)
    assert reply.status_code == 400, reply.text
    assert set(reply.json()) == {"error"} and says in reply.json()["error"]
    assert len(reply.json()["error"]) < 1000 and "\n" not in reply.json()["error"]


def test_every_error_below_v2_has_the_protocols_shape(client: httpx.Client, samples: dict[str, bytes]) -> None:
    def sent(model: str = "lenet5", **headers: str) -> httpx.Response:
        length = {"inference-header-content-length": "0"}
        return client.post(f"/v2/models/{model}/infer", content=samples["7"], headers=length | headers)

    replies = {
        404: client.get("/v2/nothing"),
        405: client.get("/v2/models/lenet5/infer"),
        400: sent("lenet5", **{"x-request-deadline-ms": "soon"}),
        413: client.post("/v2/models/lenet5/infer", content=b"\xff" * 40_000_000),
        415: sent("lenet5", **{"content-encoding": "br"}),
        504: sent("lenet5", **{"x-request-deadline-ms": "0.001"}),
    }
    for status, reply in replies.items():
        assert reply.status_code == status
        assert list(reply.json()) == ["error"] and isinstance(reply.json()["error"], str)
        assert reply.headers["x-request-id"]
    assert sent("nobody").status_code == 404 and "lenet5" in sent("nobody").json()["error"]
    assert isinstance(client.get("/v2nothing").json()["error"], dict), "the shape of everything else"
    assert sent().headers["server-timing"].startswith("decode;dur=") or "decode;dur=" in sent().headers["server-timing"]


def test_millions_of_empty_texts_stop_nobody_else(client: httpx.Client) -> None:
    """Eight million elements of nothing but their lengths take seconds to take apart; the others go on meanwhile."""
    count = 8_000_000
    text = inputs(
        {"name": "image_bytes", "shape": [count], "datatype": "BYTES", "parameters": {BINARY_SIZE: 4 * count}}
    )
    headers = {"inference-header-content-length": str(len(text))}
    with ThreadPoolExecutor(1) as background:
        body = text + bytes(4 * count)
        refused = background.submit(client.post, "/v2/models/lenet5/infer", content=body, headers=headers)
        waits: list[float] = []
        while not refused.done():
            began = time.monotonic()
            assert client.get("/v2/health/live").status_code == 200
            waits.append(time.monotonic() - began)
    assert refused.result().status_code == 413 and "1024" in refused.result().json()["error"]
    assert len(waits) > 5 and max(waits) < sum(waits) / 2, waits
