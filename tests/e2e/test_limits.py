"""Clients that are slow, large, many or malicious: each is bounded, told why, and harms nobody else."""

import gzip
import json
import re
import resource
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.messages import strings
from service.wire import codec
from service.wire.stubs import predict_pb2, prediction_service_pb2_grpc
from tests.serving import Service, running

HEADER_SECONDS, BODY_SECONDS = 1.5, 2.0
MAX_BODY = 4 * 2**20


@pytest.fixture(scope="module")
def service(lenet5_repository: Path) -> Iterator[Service]:
    limits = ("--max-headers", 20, "--max-header-bytes", 4096, "--max-connections", 40, "--max-body-bytes", MAX_BODY)
    seconds = ("--header-seconds", HEADER_SECONDS, "--body-seconds", BODY_SECONDS)
    with running("--repository", lenet5_repository, *limits, *seconds) as service:
        service.wait_ready()
        yield service
        assert "Traceback" not in service.log(), service.log()[-5000:]
        assert service.stop() == 0


@pytest.fixture(autouse=True)
def nobody_else_is_harmed(service: Service, digit: bytes) -> Iterator[None]:
    yield
    assert httpx.post(f"{service.url}/predict/lenet5", content=digit, timeout=30).status_code == 200


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.http_port), timeout=30)


def everything(wire: socket.socket) -> bytes:
    """Until the other side closes, or hangs up on what we still send."""
    received = b""
    with suppress(ConnectionResetError):
        while chunk := wire.recv(65536):
            received += chunk
    return received


@contextmanager
def trickling(wire: socket.socket) -> Iterator[None]:
    """One more byte always comes in time: no timeout between bytes would notice."""
    stop = threading.Event()

    def send() -> None:
        with suppress(OSError):
            while not stop.wait(0.2):
                wire.sendall(b"x")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def refusal(raw: bytes, status: int) -> dict[str, str]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), raw[:300]
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert set(error) >= {"code", "message", "request_id"}
    return dict(error)


def refused(service: Service, reason: str) -> float:
    page = httpx.get(f"{service.url}/metrics").text
    found = re.search(rf'^model_server_connections_refused_total{{reason="{reason}"}} ([\d.]+)$', page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def highest_memory(service: Service) -> int:
    """In bytes, since `forget`."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024


def growth(service: Service, work: Callable[[], None]) -> int:
    """By how many bytes the server's memory rose at most while `work` was done."""
    Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")  # VmHWM starts again from now
    before = highest_memory(service)
    work()
    return highest_memory(service) - before


# Slow clients


def test_headers_that_trickle_are_given_up(service: Service) -> None:
    before = refused(service, "slow_headers")
    with connect(service) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\n")
        started = time.monotonic()
        with trickling(wire):
            raw = everything(wire)
    error = refusal(raw, 408)
    assert error["code"] == "DEADLINE" and "headers" in error["message"]
    assert HEADER_SECONDS < time.monotonic() - started < HEADER_SECONDS + 5
    assert refused(service, "slow_headers") == before + 1


def test_a_connection_that_says_nothing_is_closed(service: Service) -> None:
    with connect(service) as wire:
        assert everything(wire) == b""


def test_a_slow_head_after_a_good_request_is_given_up_too(service: Service) -> None:
    with connect(service) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /hea")
        raw = everything(wire)
    assert raw.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 408" in raw


@pytest.mark.parametrize("path", ["/predict/lenet5", "/v1/models/lenet5:predict", "/v2/models/lenet5/infer"])
def test_bodies_that_trickle_are_given_up_on_every_route(service: Service, path: str) -> None:
    with connect(service) as wire:
        wire.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode())
        started = time.monotonic()
        with trickling(wire):
            raw = everything(wire)
    assert raw.startswith(b"HTTP/1.1 504") and b"did not arrive within 2 s" in raw
    assert BODY_SECONDS < time.monotonic() - started < BODY_SECONDS + 5


def test_a_body_that_goes_on_after_its_answer_is_ended(service: Service) -> None:
    """Refused for its size at once; the rest is not waited for."""
    before = refused(service, "slow_body")
    with connect(service) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\nx")
        raw = everything(wire)
    assert raw.startswith(b"HTTP/1.1 413")
    assert refused(service, "slow_body") == before + 1


def test_a_client_that_does_not_take_its_answers_is_ended(service: Service) -> None:
    """It asks for much and reads nothing: what it is owed must not pile up for ever."""
    before = refused(service, "answer_not_taken")
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", service.http_port))
        wire.settimeout(0.2)
        deadline = time.monotonic() + 30
        while refused(service, "answer_not_taken") == before:
            assert time.monotonic() < deadline
            try:
                wire.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 200)
            except TimeoutError:
                time.sleep(0.2)
            except OSError:
                break
    service.wait_until(lambda: refused(service, "answer_not_taken") == before + 1, 10)


# Large heads, many connections


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"".join(b"x-%d: y\r\n" % number for number in range(30)), "at most 20 headers"),
        (b"x: " + b"y" * 5000 + b"\r\n", "more than 4,096 bytes"),
        (b"".join(b"x-%d: %s\r\n" % (number, b"y" * 400) for number in range(15)), "more than 4,096 bytes"),
    ],
)
def test_large_heads_are_refused(service: Service, head: bytes, says: str) -> None:
    with connect(service) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n")
        assert says in refusal(everything(wire), 431)["message"]


def test_a_head_without_end_costs_no_memory(service: Service) -> None:
    def endless() -> None:
        with connect(service) as wire:
            try:
                wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: ")
                for _ in range(1000):
                    wire.sendall(b"y" * 100_000)
            except OSError:  # closed on us
                return
            raise AssertionError("a hundred megabytes of header were taken")

    assert growth(service, endless) < 8 * 2**20


def test_a_long_url_is_refused(service: Service) -> None:
    reply = httpx.get(f"{service.url}/predict/{'x' * 5000}")
    assert reply.status_code == 431 and reply.json()["error"]["code"] == "TOO_LARGE"


@pytest.mark.parametrize("trailer", [b"x: " + b"y" * 100_000, b"".join(b"x-%d: y\r\n" % n for n in range(50))])
def test_trailers_after_a_body_are_bounded_too(service: Service, trailer: bytes) -> None:
    with connect(service) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        time.sleep(0.2)
        wire.sendall(trailer)
        refusal(everything(wire), 431)


def test_rubbish_is_told_so_and_fills_no_log(service: Service) -> None:
    before = len(service.log())
    for _ in range(20):
        with connect(service) as wire:
            wire.sendall(b"\x16\x03\x01 rubbish\r\n\r\n")
            assert refusal(everything(wire), 400)["code"] == "INVALID_INPUT"
    assert len(service.log()) - before < 200


def test_too_many_connections_are_refused_and_the_others_go_on(service: Service) -> None:
    wires: list[socket.socket] = []
    try:
        with httpx.Client(base_url=service.url) as inside:
            assert inside.get("/healthz").status_code == 200
            wires.extend(connect(service) for _ in range(60))
            assert refusal(everything(wires[-1]), 503)["code"] == "OVERLOADED"
            assert inside.get("/healthz").status_code == 200, "connections that are open stay"
    finally:
        for wire in wires:
            wire.close()
    service.wait_until(lambda: httpx.get(f"{service.url}/healthz").status_code == 200, 10)
    assert refused(service, "too_many") >= 1


def test_the_limit_of_open_files_is_raised_to_the_limit_of_connections(lenet5_repository: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))  # what the service inherits
    try:
        starting = running("--repository", lenet5_repository, "--max-connections", 400)
        service = starting.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with ExitStack() as stack:
        stack.push(starting)
        service.wait_ready()
        for _ in range(300):
            stack.enter_context(connect(service))
        assert httpx.get(f"{service.url}/healthz").status_code == 200


# Compressed bodies


def post(service: Service, path: str, body: bytes, encoding: str, kind: str = "application/json") -> httpx.Response:
    headers = {"content-encoding": encoding, "content-type": kind}
    return httpx.post(f"{service.url}{path}", content=body, headers=headers, timeout=60)


def raw_deflate(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(data) + compress.flush()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("identity, gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),  # what some clients take deflate for
        ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
        ("identity", lambda data: data),
    ],
)
def test_compressed_images_are_images(
    service: Service, digit: bytes, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    reply = post(service, "/predict/lenet5", compress(digit), encoding, "image/png")
    assert reply.status_code == 200 and reply.json()["predictions"][0]["label"] == "7"


def test_every_api_reads_compressed_bodies(service: Service) -> None:
    pixels = [[[[0, 0, 0]] * 28] * 28]
    rows = gzip.compress(json.dumps({"instances": pixels, "signature_name": "image"}).encode())
    assert len(post(service, "/v1/models/lenet5:predict", rows, "gzip").json()["predictions"][0]) == 10
    flat = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28, 3], "data": [0] * (28 * 28 * 3)}
    infer = gzip.compress(json.dumps({"inputs": [flat], "parameters": {"signature": "image"}}).encode())
    for path in ("/v2/models/lenet5/infer",):
        plain = httpx.post(f"{service.url}{path}", content=gzip.decompress(infer), timeout=30)
        assert post(service, path, infer, "gzip").json() == plain.json()


@cache
def bomb(size: int) -> bytes:
    compress = zlib.compressobj(9, wbits=31)
    piece = bytes(2**20)
    return b"".join(compress.compress(piece) for _ in range(size // 2**20)) + compress.flush()


@pytest.mark.parametrize(
    "path",
    [
        "/predict/lenet5",
        pytest.param("/v1/models/lenet5:predict", marks=pytest.mark.slow),
        pytest.param("/v2/models/lenet5/infer", marks=pytest.mark.slow),
    ],
)
def test_a_gzip_bomb_is_refused_and_costs_little(service: Service, path: str) -> None:
    """2 GiB in 2 MB, four at once: what grows stays near the limit of a body."""
    data = bomb(2**31)
    assert len(data) < 2.2e6 < MAX_BODY
    replies: list[httpx.Response] = []

    def explode() -> None:
        with ThreadPoolExecutor(4) as threads:
            replies.extend(threads.map(lambda _: post(service, path, data, "gzip"), range(4)))

    risen = growth(service, explode)
    assert {reply.status_code for reply in replies} == {413}
    assert all("unpacked" in reply.text for reply in replies)
    assert risen < 4 * 4 * MAX_BODY, f"{risen / 2**20:.0f} MiB"


def test_others_are_answered_while_bombs_go_off(service: Service) -> None:
    data, slowest = bomb(2**29), 0.0
    with ThreadPoolExecutor(4) as threads, httpx.Client(base_url=service.url) as client:
        bombs = [threads.submit(post, service, "/predict/lenet5", data, "gzip") for _ in range(12)]
        while not all(one.done() for one in bombs):
            started = time.monotonic()
            assert client.get("/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - started)
    assert {one.result().status_code for one in bombs} == {413} and slowest < 2


@pytest.mark.parametrize(
    ("encoding", "body", "status", "says"),
    [
        ("br", b"x", 415, "send gzip, deflate or none"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x")), 415, "send gzip, deflate or none"),
        ("zstd", b"x", 415, "'zstd'"),
        ("gzip", b"plain", 400, "not valid gzip"),
        ("gzip", gzip.compress(b"x" * 1000)[:-4], 400, "breaks off"),
        ("gzip", gzip.compress(b"x") + b"more", 400, "not valid gzip"),
        ("gzip", gzip.compress(b"") * 2000, 400, "goes on after its end"),
        ("deflate", zlib.compress(b"x") + b"more", 400, "goes on after its end"),
        ("deflate", b"x", 400, "deflate"),
        ("gzip", b"", 400, "empty"),
        ("gzip", gzip.compress(b""), 400, "empty"),
    ],
)
def test_what_cannot_be_unpacked_says_so(service: Service, encoding: str, body: bytes, status: int, says: str) -> None:
    reply = post(service, "/predict/lenet5", body, encoding)
    assert reply.status_code == status and says in reply.json()["error"]["message"]


# gRPC


def predict_call(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict


def grpc_code(ask: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as failed:
        ask()
    return failed.value.code().name, failed.value.details() or ""


def test_a_large_or_exploding_grpc_message_is_refused(service: Service) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "lenet5"
    request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([bytes(3 * 10**8)])))
    address = f"127.0.0.1:{service.grpc_port}"

    def explode() -> None:
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with grpc.insecure_channel(address, compression=compression) as channel:
                code, says = grpc_code(lambda: predict_call(channel)(request, timeout=60))
                assert code == "RESOURCE_EXHAUSTED" and "larger than max" in says, (code, says)

    assert growth(service, explode) < 4 * MAX_BODY


def test_large_grpc_metadata_is_refused(service: Service) -> None:
    with service.channel() as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        metadata = (("x-large", "y" * 10_000),)
        code, _ = grpc_code(lambda: check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=30))
        assert code == "RESOURCE_EXHAUSTED"
        check(health_pb2.HealthCheckRequest(), metadata=(("x-small", "y" * 1000),), timeout=30)


def test_pings_without_work_end_a_grpc_connection(service: Service) -> None:
    """HTTP/2 by hand: a preface, then nothing but PINGs."""

    def frame(kind: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3) + bytes([kind, 0]) + bytes(4) + payload

    with socket.create_connection(("127.0.0.1", service.grpc_port), timeout=30) as wire:
        wire.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, b""))
        received = b""
        try:
            for _ in range(10):
                wire.sendall(frame(6, b"12345678"))
                received += wire.recv(65536)
            raise AssertionError("ten pings were borne")
        except OSError:
            pass
    assert b"too_many_pings" in received
