"""Clients that are slow, large, many or malicious: each is bounded, told why, and harms nobody else."""

import resource
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from service.types import strings
from tests.support.raw_http import MAX_BODY, connect, everything, growth, refusal, refused
from tests.support.service_process import Service, running

pytestmark = pytest.mark.usefixtures("nobody_else_is_harmed")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"".join(b"x-%d: y\r\n" % number for number in range(30)), "at most 20 headers"),
        (b"x: " + b"y" * 5000 + b"\r\n", "more than 4,096 bytes"),
        (b"".join(b"x-%d: %s\r\n" % (number, b"y" * 400) for number in range(15)), "more than 4,096 bytes"),
    ],
)
def test_large_heads_are_refused(limited: Service, head: bytes, says: str) -> None:
    with connect(limited) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n")
        assert says in refusal(everything(wire), 431)["message"]


def test_a_head_without_end_costs_no_memory(limited: Service) -> None:
    def endless() -> None:
        with connect(limited) as wire:
            try:
                wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: ")
                for _ in range(1000):
                    wire.sendall(b"y" * 100_000)
            except OSError:  # closed on us
                return
            raise AssertionError("a hundred megabytes of header were taken")

    assert growth(limited, endless) < 8 * 2**20


def test_a_long_url_is_refused(limited: Service) -> None:
    reply = httpx.get(f"{limited.url}/predict/{'x' * 5000}")
    assert reply.status_code == 431 and reply.json()["error"]["code"] == "TOO_LARGE"


@pytest.mark.parametrize("trailer", [b"x: " + b"y" * 100_000, b"".join(b"x-%d: y\r\n" % n for n in range(50))])
def test_trailers_after_a_body_are_bounded_too(limited: Service, trailer: bytes) -> None:
    with connect(limited) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        time.sleep(0.2)
        wire.sendall(trailer)
        refusal(everything(wire), 431)


def test_rubbish_is_told_so_and_fills_no_log(limited: Service) -> None:
    before = len(limited.log())
    for _ in range(20):
        with connect(limited) as wire:
            wire.sendall(b"\x16\x03\x01 rubbish\r\n\r\n")
            assert refusal(everything(wire), 400)["code"] == "INVALID_INPUT"
    assert len(limited.log()) - before < 200


def test_too_many_connections_are_refused_and_the_others_go_on(limited: Service) -> None:
    wires: list[socket.socket] = []
    try:
        with httpx.Client(base_url=limited.url) as inside:
            assert inside.get("/healthz").status_code == 200
            wires.extend(connect(limited) for _ in range(60))
            assert refusal(everything(wires[-1]), 503)["code"] == "OVERLOADED"
            assert inside.get("/healthz").status_code == 200, "connections that are open stay"
    finally:
        for wire in wires:
            wire.close()
    limited.wait_until(lambda: httpx.get(f"{limited.url}/healthz").status_code == 200, 10)
    assert refused(limited, "too_many") >= 1


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


def predict_call(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict


def grpc_code(ask: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as failed:
        ask()
    return failed.value.code().name, failed.value.details() or ""


def test_a_large_or_exploding_grpc_message_is_refused(limited: Service) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "lenet5"
    request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([bytes(10**8)])))
    address = f"127.0.0.1:{limited.grpc_port}"

    def explode() -> None:
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with grpc.insecure_channel(address, compression=compression) as channel:
                code, says = grpc_code(lambda: predict_call(channel)(request, timeout=60))
                assert code == "RESOURCE_EXHAUSTED" and "larger than max" in says, (code, says)

    assert growth(limited, explode) < 4 * MAX_BODY


def test_large_grpc_metadata_is_refused(limited: Service) -> None:
    with limited.channel() as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        metadata = (("x-large", "y" * 10_000),)
        code, _ = grpc_code(lambda: check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=30))
        assert code == "RESOURCE_EXHAUSTED"
        check(health_pb2.HealthCheckRequest(), metadata=(("x-small", "y" * 1000),), timeout=30)


def test_pings_without_work_end_a_grpc_connection(limited: Service) -> None:
    """HTTP/2 by hand: a preface, then nothing but PINGs."""

    def frame(kind: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3) + bytes([kind, 0]) + bytes(4) + payload

    with socket.create_connection(("127.0.0.1", limited.grpc_port), timeout=30) as wire:
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
