"""Refusals for want of room or of time: told ahead of everything else, and hardly felt by those that are let in."""

import asyncio
import json
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.loops import ClosedLoop
from service.security import api_keys as keys
from tests.support.images import encode, photo
from tests.support.service_process import Service, running

OURS = ["/predict/lenet5", "/embed/lenet5", "/similar/lenet5"]
PATHS = [*OURS, "/v1/models/lenet5:predict", "/v2/models/lenet5/infer"]
SLO = 0.1


@contextmanager
def occupied(service: Service, **headers: str) -> Iterator[None]:
    """One request is under way for as long as this lasts: its body does not end."""
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 0)  # the last one has been noticed
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", service.http_port)) as wire:
        wire.sendall(f"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n{head}\r\nhalf".encode())
        service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 1)
        yield


def receive(wire: socket.socket, answers: int) -> bytes:
    received = b""
    while received.count(b"HTTP/1.1 ") < answers or not received.endswith(b"}"):
        chunk = wire.recv(65536)
        if not chunk:
            break
        received += chunk
    return received


@pytest.fixture(scope="module")
def narrow(lenet5_repository: Path) -> Iterator[Service]:
    with running("--repository", lenet5_repository, "--max-in-flight", 1, "--access-log") as service:
        service.wait_ready()
        yield service


@pytest.mark.parametrize("path", PATHS)
def test_a_refusal_has_its_apis_shape_and_the_clients_id(narrow: Service, path: str) -> None:
    counted = 'model_server_requests_total{code="OVERLOADED",model="",protocol="http",version=""}'
    with occupied(narrow):
        before = narrow.metric(counted)
        reply = httpx.post(f"{narrow.url}{path}", content=b"x" * 50_000, headers={"x-request-id": f"mine-{path[:3]}"})
        assert narrow.metric(counted) == before + 1
    assert reply.status_code == 429 and reply.headers["retry-after"] == "1"
    assert reply.headers["x-request-id"] == f"mine-{path[:3]}"
    error = reply.json()["error"]
    if path in OURS:
        assert error["code"] == "OVERLOADED" and error["request_id"] == f"mine-{path[:3]}"
        error = error["message"]
    assert error == "1 request under way already; ask again later"
    narrow.wait_until(lambda: f"POST {path} 429" in narrow.log(), 5)


def test_only_predictions_are_refused_and_what_is_wrong_otherwise_is_still_said(narrow: Service) -> None:
    with occupied(narrow):
        assert httpx.get(f"{narrow.url}/readyz").status_code == 200
        assert httpx.get(f"{narrow.url}/predict/lenet5").status_code == 405
        assert httpx.post(f"{narrow.url}/nowhere").status_code == 404
        assert httpx.post(f"{narrow.url}/predict/lenet5?top_k=none", content=b"x").status_code == 400
        bad = httpx.post(f"{narrow.url}/predict/lenet5", content=b"x", headers={"x-request-deadline-ms": "soon"})
        assert bad.status_code == 400


def test_pipelined_requests_get_their_refusals_in_order(narrow: Service) -> None:
    request = b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nx-request-id: %d\r\n\r\nabc"
    with occupied(narrow), socket.create_connection(("127.0.0.1", narrow.http_port), timeout=10) as wire:
        wire.sendall(b"".join(request % number for number in range(200)))
        raw = receive(wire, 200)
    assert [int(found) for found in re.findall(rb"\r\nx-request-id: (\d+)", raw)] == list(range(200))
    assert raw.count(b"HTTP/1.1 429 ") == 200


def test_a_refused_body_is_no_request_and_the_connection_goes_on(narrow: Service) -> None:
    body = b"POST /predict/lenet5 HTTP/1.1\r\n\r\n" * 1000
    with occupied(narrow), socket.create_connection(("127.0.0.1", narrow.http_port), timeout=10) as wire:
        for framing in (b"content-length: %d\r\n\r\n" % len(body) + body, b"transfer-encoding: chunked\r\n\r\n"):
            wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\n" + framing)
            assert receive(wire, 1).count(b"HTTP/1.1 429 ") == 1
        wire.sendall(b"%x\r\n%s\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" % (len(body), body))
        assert receive(wire, 1).startswith(b"HTTP/1.1 200 ")


def test_who_may_not_ask_is_told_that_and_not_how_full_it_is(lenet5_repository: Path, tmp_path: Path) -> None:
    secret, entry = keys.make("ours", ["lenet5"])
    other, more = keys.make("theirs", ["cats"])
    file = tmp_path / "keys.yaml"
    file.write_text(entry + more)
    with running("--repository", lenet5_repository, "--max-in-flight", 1, "--api-keys", file) as service:
        service.wait_ready()

        def ask(key: str | None) -> tuple[int, str]:
            headers = {} if key is None else {"x-api-key": key}
            reply = httpx.post(f"{service.url}/predict/lenet5", content=b"x", headers=headers)
            return reply.status_code, reply.json()["error"]["code"]

        with occupied(service, **{"x-api-key": secret}):
            assert ask(None) == ask("ims_no-such-key") == (401, "UNAUTHENTICATED")
            assert ask(other) == (403, "FORBIDDEN")
            assert ask(secret) == (429, "OVERLOADED")


@pytest.mark.alone
def test_clients_that_ask_again_at_once_keep_nobody_else_from_an_answer(lenet5_repository: Path) -> None:
    """A network of a fraction of a millisecond: refusing costs as much as answering, unless it is next to free."""
    digit = encode(photo()[:28, :28])

    async def measure(service: Service) -> tuple[float, float, Counter[int]]:
        url = f"{service.url}/predict/lenet5"
        patient = ClosedLoop(url, digit, ["X-Request-Deadline-Ms: 60000"])
        await patient.run(16, 0.5)  # warm
        peak = len(await patient.run(16, 2.0)) / 2.0
        outcomes = await ClosedLoop(url, digit).run(256, 3.0)
        goodput = sum(outcome.status == 200 and outcome.seconds <= SLO for outcome in outcomes) / 3.0
        return peak, goodput, Counter(outcome.status for outcome in outcomes)

    with running("--repository", lenet5_repository, "--latency-slo-ms", 1000 * SLO) as service:
        service.wait_ready()
        peak, goodput, statuses = asyncio.run(measure(service))
        assert set(statuses) <= {200, 429, 504} and statuses[429] > 0, statuses
        assert goodput > 0.3 * peak, (peak, goodput, statuses)
        again = [httpx.post(f"{service.url}/predict/lenet5", content=digit).status_code for _ in range(5)]
        assert again == [200] * 5
        counted = r'model_server_requests_total{code="OVERLOADED",[^}]*}'
        page = httpx.get(f"{service.url}/metrics").text
        assert sum(map(float, re.findall(rf"^{counted} (\S+)$", page, re.MULTILINE))) == statuses[429]


def test_a_drain_in_a_storm_of_refusals_ends(lenet5_repository: Path) -> None:
    """Refusals that wait for their turn are sent first."""

    async def storm(service: Service) -> Counter[int]:
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, service.process.send_signal, signal.SIGTERM)
        outcomes = await ClosedLoop(f"{service.url}/predict/lenet5", encode(photo()[:28, :28])).run(200, 10.0)
        return Counter(outcome.status for outcome in outcomes)

    with running("--repository", lenet5_repository, "--latency-slo-ms", 20) as service:
        service.wait_ready()
        statuses = asyncio.run(storm(service))
        assert service.process.wait(10) == 0
    assert statuses[429] > 0 and statuses[0] == 0, statuses


def test_what_is_refused_is_json_of_the_size_it_says(narrow: Service) -> None:
    with occupied(narrow), socket.create_connection(("127.0.0.1", narrow.http_port), timeout=10) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.0\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        raw = b""
        while chunk := wire.recv(65536):  # HTTP/1.0: it closes by itself
            raw += chunk
    head, _, body = raw.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None and int(length[1]) == len(body) and b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "OVERLOADED"
