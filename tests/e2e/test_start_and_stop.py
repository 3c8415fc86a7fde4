"""How the process starts, and above all how it ends: real processes, real signals, live traffic."""

import asyncio
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.api.grpc_app import SERVICES
from service.security import api_keys as keys
from tests.support.service_process import Service, running
from tests.support.testdata import TESTDATA, needs_testdata


@pytest.fixture
def service(lenet5_repository: Path) -> Iterator[Service]:
    with running("--repository", lenet5_repository) as service:
        service.wait_ready()
        yield service


def test_a_missing_repository_is_waited_for(tmp_path: Path, lenet5_repository: Path, digit: bytes) -> None:
    with running("--repository", tmp_path / "later", "--poll-interval-seconds", 0.1) as service:
        service.wait_until(lambda: "cannot be read" in service.log())
        reply = httpx.get(f"{service.url}/readyz")
        assert reply.status_code == 503 and "cannot be read" in reply.json()["reason"]
        assert "model_server_ready 0.0" in httpx.get(f"{service.url}/metrics").text
        assert httpx.get(f"{service.url}/healthz").status_code == 200
        refused = httpx.post(f"{service.url}/predict/lenet5", content=digit)
        assert refused.status_code == 503 and "python -m export" in refused.json()["error"]["message"]
        shutil.copytree(lenet5_repository, tmp_path / "later")
        service.wait_until(lambda: "lenet5" in httpx.get(f"{service.url}/models").json()["models"])
        assert httpx.get(f"{service.url}/readyz").status_code == 200
        assert httpx.post(f"{service.url}/predict/lenet5", content=digit).status_code == 200


def test_ctrl_c_ends_at_once_and_well(service: Service) -> None:
    started = time.monotonic()
    assert service.stop(signal.SIGINT) == 0
    assert time.monotonic() - started < 5 and "Traceback" not in service.log()


def test_sigterm_while_loading_ends_well(lenet5_repository: Path) -> None:
    with running("--repository", lenet5_repository) as service:
        assert service.http_port
        assert service.stop() == 0


def test_a_second_signal_does_not_wait(lenet5_repository: Path) -> None:
    with running("--repository", lenet5_repository, "--drain-seconds", 60) as service:
        service.wait_ready()
        service.process.send_signal(signal.SIGTERM)
        service.wait_until(lambda: "not ready any more" in service.log())
        started = time.monotonic()
        assert service.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 5


def test_sigterm_drops_nothing(lenet5_repository: Path, digit: bytes) -> None:
    """Clients send without pause through the whole drain. Until the listener closes every request is
    answered; after that connections are refused, which no client mistakes for an accepted request.
    """

    async def client(service: Service, stop: asyncio.Event, answered: list[float], lost: list[str]) -> None:
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", service.http_port)
            except ConnectionRefusedError:
                return
            head = f"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: {len(digit)}\r\n\r\n".encode()
            try:
                while True:
                    writer.write(head + digit)
                    line = await reader.readline()
                    if b" 200 " not in line:
                        lost.append(repr(line))
                        return
                    headers = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                    answered.append(time.monotonic())
                    if b"connection: close" in headers.lower():
                        break
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                lost.append(repr(error))
                return
            finally:
                writer.close()

    async def scenario(service: Service) -> None:
        stop, answered, lost = asyncio.Event(), list[float](), list[str]()
        clients = [asyncio.create_task(client(service, stop, answered, lost)) for _ in range(8)]
        async with httpx.AsyncClient(base_url=service.url) as probe:
            await asyncio.sleep(0.5)
            assert len(answered) > 20
            service.process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            while (await probe.get("/readyz")).status_code == 200:
                assert time.monotonic() - asked < 2, "readiness must go first"
                await asyncio.sleep(0.01)
            not_ready = time.monotonic()
        await asyncio.sleep(1.0)
        stop.set()  # what a load balancer does once readiness is gone
        await asyncio.gather(*clients)
        assert lost == []
        assert sum(moment > not_ready for moment in answered) > 20, "still answering while it drains"

    with running("--repository", lenet5_repository, "--drain-seconds", 2) as service:
        service.wait_ready()
        asyncio.run(scenario(service))
        assert service.process.wait(30) == 0
        assert "drained" in service.log() and "Traceback" not in service.log()


def test_requests_under_way_at_sigterm_are_answered(lenet5_repository: Path, digit: bytes) -> None:
    """A request whose computing outlasts the drain delay (none here) still gets its answer, over both protocols."""
    files = [("image", ("7.png", digit, "image/png"))] * 900

    async def scenario(service: Service) -> httpx.Response:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            slow = asyncio.create_task(client.post("/predict/lenet5", files=files))
            async with httpx.AsyncClient(base_url=service.url) as probe:
                while "requests_in_flight 1.0" not in (await probe.get("/metrics")).text:
                    assert not slow.done(), "the request was too quick for this test"
            service.process.send_signal(signal.SIGTERM)
            return await slow

    with running("--repository", lenet5_repository) as service:
        service.wait_ready()
        reply = asyncio.run(scenario(service))
        assert reply.status_code == 200
        assert [prediction["label"] for prediction in reply.json()["predictions"]] == ["7"] * 900
        assert service.process.wait(30) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_grpc_health_follows_readiness(lenet5_repository: Path, tmp_path: Path, workers: int) -> None:
    """Of every service, told to who checks and who watches: nothing to serve, a model, none again, a model, a drain."""
    away, repository = tmp_path / "away", tmp_path / "models"
    repository.mkdir()
    shutil.copytree(lenet5_repository / "lenet5", away)
    arguments = (
        "--repository",
        repository,
        "--poll-interval-seconds",
        0.1,
        "--drain-seconds",
        1.5,
        "--workers",
        workers,
    )
    with running(*arguments) as service:
        service.wait_until(lambda: service.log().count("gRPC on port") == workers)
        with service.channel() as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watches = {name: health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60) for name in SERVICES}

            def told(status: int) -> None:
                for name, watch in watches.items():
                    assert next(watch).status == status
                    check = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
                    assert check.status == status, name

            told(health_pb2.HealthCheckResponse.NOT_SERVING)
            for _ in range(2):
                away.rename(repository / "lenet5")
                told(health_pb2.HealthCheckResponse.SERVING)
                service.wait_ready()
                (repository / "lenet5").rename(away)
                told(health_pb2.HealthCheckResponse.NOT_SERVING)
            away.rename(repository / "lenet5")
            told(health_pb2.HealthCheckResponse.SERVING)
            service.process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            told(health_pb2.HealthCheckResponse.NOT_SERVING)
            assert time.monotonic() - asked < 1
            with pytest.raises(grpc.RpcError) as caught:
                health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=30)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            for watch in watches.values():
                watch.cancel()
        assert service.process.wait(30) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_has_files_looked_at_and_ends_nothing(lenet5_repository: Path, tmp_path: Path, workers: int) -> None:
    routes, keys_file = tmp_path / "routes.yaml", tmp_path / "keys.yaml"
    (_, first), (secret, second) = keys.make("first"), keys.make("second")
    routes.write_text("routes:\n  before: lenet5\n")
    keys_file.write_text(first)
    files = ("--routes", routes, "--api-keys", keys_file, "--workers", workers)
    with running("--repository", lenet5_repository, *files) as service:
        assert service.http_port
        service.process.send_signal(signal.SIGHUP)  # while models load
        service.wait_ready()
        routes.write_text("routes:\n  after: lenet5\n")
        keys_file.write_text(first + second)
        service.process.send_signal(signal.SIGHUP)
        service.wait_until(lambda: service.log().count("new API keys in force") == workers, 20)
        service.wait_until(lambda: service.log().count("new routes in force") == workers, 20)
        assert service.log().count("SIGHUP: looking") >= workers
        key = {"authorization": f"Bearer {secret}"}
        assert "after" in httpx.get(f"{service.url}/routes", headers=key).json()["routes"]
        assert service.stop() == 0


def test_the_grpc_port_opens_once_models_are_loaded(lenet5_repository: Path) -> None:
    """TCP probes of the port are used as readiness by clients of TensorFlow Serving."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running("--repository", lenet5_repository, "--grpc-port", port) as service:
        service.wait_until(lambda: "HTTP on port" in service.log())
        opened_early = False
        while "is available" not in service.log():
            with socket.socket() as client:
                opened_early |= client.connect_ex(("127.0.0.1", port)) == 0 and "is available" not in service.log()
        assert not opened_early
        service.wait_ready()
        with service.channel() as channel:
            grpc.channel_ready_future(channel).result(10)


def test_an_open_health_watch_does_not_hold_up_the_end(service: Service) -> None:
    with service.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 5


@needs_testdata
def test_sigterm_while_a_model_loads_never_says_ready(tmp_path: Path) -> None:
    """TensorFlow's import takes seconds, in which the signal comes."""
    assert TESTDATA is not None
    shutil.copytree(TESTDATA / "saved_model_half_plus_two_cpu", tmp_path / "half_plus_two")
    with running("--repository", tmp_path, "--drain-seconds", 1) as service:
        assert service.http_port
        assert service.stop() == 0
        assert "ready, serving" not in service.log() and "gRPC on port" not in service.log()
