"""What only HTTP has: bodies of several kinds, headers, limits, and errors in one shape."""

import asyncio
import base64
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from tests.support.images import encode
from tests.support.replies import error_of
from tests.support.service_process import Service


@pytest.mark.parametrize(
    "kind", ["image/png", "image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded", None]
)
def test_a_raw_body_is_an_image_whatever_it_is_called(
    client: httpx.Client, samples: dict[str, bytes], kind: str | None
) -> None:
    reply = client.post("/predict/lenet5", content=samples["7"], headers={"content-type": kind} if kind else {})
    assert reply.status_code == 200
    document = reply.json()
    assert document["model"] == "lenet5" and document["version"] == 1
    (prediction,) = document["predictions"]
    assert prediction["label"] == prediction["top_k"][0]["label"] == "7"
    assert len(prediction["top_k"]) == 5
    probabilities = [entry["probability"] for entry in prediction["top_k"]]
    assert probabilities == sorted(probabilities, reverse=True) and 0.5 < probabilities[0] <= 1


def test_a_precision_is_a_label(client: httpx.Client, samples: dict[str, bytes]) -> None:
    assert client.post("/predict/lenet5?label=float32", content=samples["7"]).json()["version"] == 1
    refused = client.post("/predict/lenet5?label=int8", content=samples["7"])
    assert "labels here: ['float32']" in error_of(refused, 400)["message"]
    both = client.post("/predict/lenet5?label=float32&version=1", content=samples["7"])
    assert "not for both" in error_of(both, 400)["message"]


def test_every_digit_is_read_right(client: httpx.Client, samples: dict[str, bytes]) -> None:
    right = [
        client.post("/predict/lenet5", content=data).json()["predictions"][0]["label"] == label
        for label, data in samples.items()
    ]
    assert len(right) == 10 and sum(right) >= 9


def test_multipart_takes_several_files(client: httpx.Client, samples: dict[str, bytes]) -> None:
    files = [("image", (f"{label}.png", samples[label], "image/png")) for label in "314"]
    document = client.post("/predict/lenet5", files=files).json()
    assert [prediction["label"] for prediction in document["predictions"]] == ["3", "1", "4"]


def test_top_k_bounds_the_answer(client: httpx.Client, samples: dict[str, bytes]) -> None:
    for asked, given in (("1", 1), ("3", 3), ("500", 10)):
        document = client.post("/predict/lenet5", params={"top_k": asked}, content=samples["0"]).json()
        assert len(document["predictions"][0]["top_k"]) == given


def test_stage_timings_come_with_the_answer(client: httpx.Client, samples: dict[str, bytes]) -> None:
    timing = client.post("/predict/lenet5", content=samples["0"]).headers["server-timing"]
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
    assert list(stages) == ["read", "decode", "queue", "batch", "compute", "total"]
    parts = sum(float(stages[stage]) for stage in ("decode", "queue", "batch", "compute"))
    assert 0 < parts <= float(stages["total"]) < 10_000


def test_a_request_id_comes_back(client: httpx.Client, samples: dict[str, bytes]) -> None:
    reply = client.post("/predict/lenet5", content=samples["0"], headers={"x-request-id": "abc-1"})
    assert reply.headers["x-request-id"] == "abc-1"
    assert len(client.get("/healthz", headers={"x-request-id": "x" * 500}).headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"", "image/jpeg", "body is empty"),
        (b"", "application/json", "body is empty"),
        (b"{", "application/json", "not valid JSON"),
        (b"[" * 100_000, "application/json", "not valid JSON"),
        (b"\xff\xfe", "application/json", "not valid JSON"),
        (b"[1, 2]", "application/json", "instances"),
        (b"{}", "application/json", "instances"),
        (b'{"instances": []}', "application/json", "instances"),
        (b'{"instances": 7}', "application/json", "instances"),
        (b'{"instances": [{"b64": "!"}]}', "application/json", "base64"),
        (b'{"instances": [{"b64": 7}]}', "application/json", "base64"),
        (b'{"instances": [{"b65": "aGk="}]}', "application/json", "image"),
        (b'{"instances": [NaN]}', "application/json", "NaN"),
        (b'{"instances": [[[1, 2], [3]]]}', "application/json", "size 1 at level 1; expected size 2"),
        (b'{"instances": [[[["a"]]]]}', "application/json", "uint8"),
        (b'{"instances": [[[[300, 0, 0]]]]}', "application/json", "0 to 255"),
        (b'{"instances": [1], "signature_name": 5}', "application/json", "signature_name"),
        (b'{"instances": [{"b64": "aGk="}, 1]}', "application/json", "some of each"),
        (b'{"instances": [{"image": "\\ud800"}]}', "application/json", "text"),
        (b'{"instances": [1e400]}', "application/json", "uint8"),
        (b"x=1", "text/html", "text/html"),
        (b"--", "multipart/form-data; boundary=xyz", ""),
        (b"--", "multipart/form-data", ""),
        (b"--xyz--\r\n", "multipart/form-data; boundary=xyz", "no file"),
    ],
)
def test_bad_bodies_say_what_to_send(client: httpx.Client, body: bytes, kind: str, says: str) -> None:
    error = error_of(client.post("/predict/lenet5", content=body, headers={"content-type": kind}), 400)
    assert error["code"] == "INVALID_INPUT" and says in error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict/lenet5", {"instances": [[1]], "signature_name": "\ud800"}),
        ("/v1/models/lenet5:predict", {"instances": [[1]], "signature_name": "\ud800"}),
        ("/v2/models/lenet5/infer", {"inputs": [], "parameters": {"signature_name": "\ud800"}}),
    ],
)
def test_a_name_that_is_no_text_is_its_sender_s_error(client: httpx.Client, path: str, body: dict[str, object]) -> None:
    """JSON can spell half a surrogate pair, and nothing can encode one."""
    reply = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert reply.status_code in (400, 404) and 'signature "?" not found' in str(reply.json()["error"]), reply.text


def test_pixels_of_one_channel_are_not_too_dense(client: httpx.Client) -> None:
    body = json.dumps({"signature_name": "tensor", "instances": [[[[0]] * 28] * 28] * 400}, separators=(",", ":"))
    for path in ("/predict/lenet5", "/v1/models/lenet5:predict"):
        reply = client.post(path, content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 200 and len(reply.json()["predictions"]) == 400, reply.text[:300]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("version=one", "version"),
        ("version=-1", "version"),
        ("top_k=0", "top_k"),
        ("top_k=x", "top_k"),
        ("top_k=" + "9" * 5000, "top_k"),
        ("version=%2B1", "version"),
        ("top_k=-1", "top_k"),
    ],
)
def test_bad_queries_say_what_to_ask(client: httpx.Client, samples: dict[str, bytes], query: str, says: str) -> None:
    assert says in error_of(client.post(f"/predict/lenet5?{query}", content=samples["0"]), 400)["message"]


def test_wrong_methods_and_paths_keep_the_shape(client: httpx.Client) -> None:
    assert "takes POST" in error_of(client.get("/predict/lenet5"), 405)["message"]
    assert "/docs" in error_of(client.get("/nowhere"), 404)["message"]


def test_a_hundred_megabytes_are_refused_before_they_are_read(
    service: Service, client: httpx.Client, samples: dict[str, bytes]
) -> None:
    error = error_of(client.post("/predict/lenet5", content=b"\xff" * 100_000_000), 413)
    assert error["code"] == "TOO_LARGE"

    def endless() -> Iterator[bytes]:  # no Content-Length to look at
        for _ in range(100):
            yield b"\xff" * 1_000_000

    assert error_of(client.post("/predict/lenet5", content=endless()), 413)["code"] == "TOO_LARGE"
    assert client.post("/predict/lenet5", content=samples["0"]).status_code == 200


def test_a_deadline_that_cannot_be_met_is_a_504(client: httpx.Client, samples: dict[str, bytes]) -> None:
    def asked(milliseconds: str) -> httpx.Response:
        return client.post("/predict/lenet5", content=samples["0"], headers={"x-request-deadline-ms": milliseconds})

    assert asked("30000").status_code == 200
    assert error_of(asked("0.001"), 504)["code"] == "DEADLINE"
    assert "milliseconds" in error_of(asked("soon"), 400)["message"]


def test_bad_requests_leave_their_neighbours_alone(service: Service, samples: dict[str, bytes]) -> None:
    """Good and bad requests at once, so that they meet in batches."""

    async def storm() -> list[tuple[bool, httpx.Response]]:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            bodies = [samples["3"] if turn % 3 else b"nonsense" for turn in range(150)]
            replies = await asyncio.gather(*(client.post("/predict/lenet5", content=body) for body in bodies))
            return [(body == samples["3"], reply) for body, reply in zip(bodies, replies, strict=True)]

    for good, reply in asyncio.run(storm()):
        assert reply.status_code == (200 if good else 400)
        if good:
            assert reply.json()["predictions"][0]["label"] == "3"


def test_half_a_request_and_rubbish_on_the_wire_harm_nobody(
    service: Service, client: httpx.Client, samples: dict[str, bytes]
) -> None:
    for data in (
        b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc",
        b"\x16\x03\x01\x00",
        b"GARBAGE\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", service.http_port)) as wire:
            wire.sendall(data)
            time.sleep(0.05)
    assert client.post("/predict/lenet5", content=samples["0"]).status_code == 200


@pytest.mark.parametrize("api", ["predict", "embed", "similar"])
def test_a_client_that_hangs_up_is_counted_as_cancelled(service: Service, api: str) -> None:
    series = 'model_server_requests_total{code="CANCELLED",model="lenet5",protocol="http",version="1"}'
    # Some 100 ms of decoding each: left alone, they would take longer than any machine takes to notice the hang-up.
    slow = base64.b64encode(encode(np.zeros((2000, 2000, 3), np.uint8))).decode()
    body = json.dumps({"instances": [{"b64": slow}] * 60}).encode()
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 0, 20)
    before = service.metric(series)
    connection = http.client.HTTPConnection("127.0.0.1", service.http_port)
    connection.request("POST", f"/{api}/lenet5", body, {"content-type": "application/json"})
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 1, 10)
    connection.close()
    service.wait_until(lambda: service.metric(series) == before + 1, 20)
    assert "Traceback" not in service.log()


def test_tensorflow_servings_own_json_works_unnamed(client: httpx.Client, samples: dict[str, bytes]) -> None:
    text = base64.encodebytes(samples["7"]).decode()  # with line breaks, as `base64 file` writes it
    body = {"instances": [{"image_bytes": {"b64": text}}, {"image_bytes": {"b64": text}}]}
    document = client.post("/predict/lenet5", json=body).json()
    assert [prediction["label"] for prediction in document["predictions"]] == ["7", "7"]


def test_too_many_rows_are_refused_before_they_are_decoded(client: httpx.Client) -> None:
    error = error_of(client.post("/predict/lenet5", json={"instances": [{"b64": "R0lG"}] * 1025}), 413)
    assert error["code"] == "TOO_LARGE" and "1024" in error["message"]


def test_an_upload_that_breaks_off_is_no_fault_of_ours(service: Service, client: httpx.Client) -> None:
    series = 'model_server_requests_total{code="CANCELLED",model="lenet5",protocol="http",version="1"}'
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", service.http_port)) as wire:
            wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nabc")
            time.sleep(0.05)
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 0, 10)
    assert series in client.get("/metrics").text
    assert "Traceback" not in service.log()


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_an_upgrade_that_is_not_taken_loses_no_body(service: Service, samples: dict[str, bytes], framing: str) -> None:
    """As `curl --http2` asks, by a client that closes its sending half behind the request."""
    image = samples["7"]
    framed = b"content-length: %d\r\n\r\n%s" % (len(image), image)
    if framing == "chunked":
        framed = b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(image), image)
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    with socket.create_connection(("127.0.0.1", service.http_port), timeout=30) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\n" + upgrade + framed)
        wire.shutdown(socket.SHUT_WR)
        head, _, body = b"".join(iter(lambda: wire.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and json.loads(body)["predictions"][0]["label"] == "7"
