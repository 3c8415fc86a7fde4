"""Several processes of the service on one pair of ports: what they say together, and how each of them ends."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from service.types import strings
from tests.support import procfs
from tests.support.images import encode, photo
from tests.support.service_process import Service, read_metric, running

PHOTO = encode(photo(), "JPEG")
EACH_ITS_OWN = httpx.Limits(max_keepalive_connections=0)
OK = 'model_server_requests_total{code="OK",model="lenet5",protocol="http",version="1"}'


def children(service: Service) -> list[int]:
    """Worker processes, oldest first."""
    return procfs.children(service.process.pid)


def scrape(service: Service) -> str:
    """Over a connection of its own: any worker may answer."""
    return httpx.get(f"{service.url}/metrics", timeout=30).text


async def predict(service: Service, requests: int) -> list[int]:
    """Each over a connection of its own, eight at a time; the status codes, 0 where the connection broke."""
    codes: list[int] = []

    async def client(http: httpx.AsyncClient, turns: int) -> None:
        for _ in range(turns):
            try:
                codes.append((await http.post(f"{service.url}/predict/lenet5", content=PHOTO)).status_code)
            except httpx.TransportError:
                codes.append(0)

    async with httpx.AsyncClient(timeout=60, limits=EACH_ITS_OWN) as http:
        await asyncio.gather(*(client(http, requests // 8) for _ in range(8)))
    return codes


@contextmanager
def two_workers(repository: Path) -> Iterator[Service]:
    with running("--repository", repository, "--workers", 2, "--log-format", "json", "--access-log") as service:
        service.wait_ready()
        yield service


@pytest.fixture
def service(lenet5_repository: Path) -> Iterator[Service]:
    """For a test that ends one of its processes."""
    with two_workers(lenet5_repository) as service:
        yield service


@pytest.fixture(scope="module")
def shared(lenet5_repository: Path) -> Iterator[Service]:
    """For tests that leave all of its processes alone."""
    with two_workers(lenet5_repository) as service:
        yield service


def test_any_workers_page_counts_everybodys_requests(shared: Service) -> None:
    async def storm() -> list[int]:
        stop = asyncio.Event()

        async def watch() -> list[float]:
            seen = []
            while not stop.is_set():
                seen.append(read_metric(await asyncio.to_thread(scrape, shared), OK))
            return seen

        watching = asyncio.create_task(watch())
        codes = await predict(shared, 400)
        stop.set()
        seen = await watching
        assert len(seen) > 3 and seen == sorted(seen), "a counter went backwards"
        return codes

    assert asyncio.run(storm()) == [200] * 400
    pages = [scrape(shared) for _ in range(8)]
    assert {read_metric(page, OK) for page in pages} == {400.0}
    assert {
        read_metric(page, 'model_server_stage_seconds_count{model="lenet5",stage="compute",version="1"}')
        for page in pages
    } == {400.0}
    assert {
        read_metric(page, 'model_server_version_state{model="lenet5",state="AVAILABLE",version="1"}') for page in pages
    } == {2.0}
    assert {read_metric(page, "model_server_requests_in_flight") for page in pages} == {0.0}
    assert {read_metric(page, "model_server_worker_starts_total") for page in pages} == {2.0}
    assert all("pid=" not in page for page in pages)
    served = Counter(
        event["worker"] for event in map(json.loads, _json_lines(shared)) if "POST /predict" in event["message"]
    )
    assert sum(served.values()) == 400 and min(served[0], served[1]) > 50, served


def _json_lines(service: Service) -> list[str]:
    return [line for line in service.log().splitlines() if line.startswith("{")]


def test_a_killed_worker_is_replaced_and_its_counts_stay(service: Service) -> None:
    assert asyncio.run(predict(service, 80)) == [200] * 80
    cpu = service.metric("process_cpu_seconds_total")
    first, second = children(service)
    os.kill(first, signal.SIGKILL)
    counts: list[float] = []
    while len(counts) < 3 or len(children(service)) < 2 or "worker_starts_total 3" not in scrape(service):
        try:
            counts.append(read_metric(page := scrape(service), OK))
        except httpx.TransportError:  # a connection that the dead one had
            continue
        assert read_metric(page, "process_cpu_seconds_total") >= cpu, "processor time went backwards"
        assert len(counts) < 5000, service.log()
    assert set(counts) == {80.0}
    assert "by SIGKILL; next try in" in service.log() and second in children(service)
    service.wait_until(
        lambda: service.metric('model_server_version_state{model="lenet5",state="AVAILABLE",version="1"}') == 2
    )
    assert asyncio.run(predict(service, 80)) == [200] * 80
    pages = [scrape(service) for _ in range(6)]
    assert {read_metric(page, OK) for page in pages} == {160.0}
    assert {read_metric(page, "model_server_requests_in_flight") for page in pages} == {0.0}
    assert service.stop() == 0


@pytest.mark.slow
def test_the_others_answer_while_a_worker_is_away(service: Service) -> None:
    """Only what the dead one had accepted is lost: its successor takes connections when it can answer them."""

    async def scenario() -> list[int]:
        asking = asyncio.create_task(predict(service, 800))
        await asyncio.sleep(0.3)
        os.kill(children(service)[0], signal.SIGKILL)
        return await asking

    codes = Counter(asyncio.run(scenario()))
    assert codes[200] + codes[0] == 800 and codes[0] <= 16, codes


def test_ready_means_all_of_them(lenet5_repository: Path) -> None:
    with running("--repository", lenet5_repository, "--workers", 2) as service:
        service.wait_until(lambda: len(children(service)) == 2)
        late = children(service)[1]
        os.kill(late, signal.SIGSTOP)  # long before it can listen
        others = re.compile("waiting for worker [01] of 2")
        service.wait_until(lambda: others.search(httpx.get(f"{service.url}/readyz").text) is not None)
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        os.kill(late, signal.SIGCONT)
        service.wait_ready()
        assert "all 2 workers are ready" in service.log()
        assert all(httpx.get(f"{service.url}/readyz").status_code == 200 for _ in range(10))


def test_grpc_connections_are_spread_and_counted(shared: Service) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "lenet5"
    request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([PHOTO])))
    for _ in range(24):
        with shared.channel() as channel:
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert shared.metric(OK.replace("http", "grpc")) == 24
    answered = {json.loads(line)["worker"] for line in _json_lines(shared) if "PredictionService/Predict OK" in line}
    assert answered == {0, 1}


def test_sigterm_reaches_all_and_drops_nothing(lenet5_repository: Path) -> None:
    async def scenario(service: Service) -> list[int]:
        asking = asyncio.create_task(predict(service, 200))
        await asyncio.sleep(0.3)
        assert not asking.done()
        service.process.send_signal(signal.SIGTERM)
        return await asking

    with running("--repository", lenet5_repository, "--workers", 2, "--drain-seconds", 5) as service:
        service.wait_ready()
        codes = asyncio.run(scenario(service))
        assert codes == [200] * 200
        workers = children(service)
        assert service.process.wait(30) == 0
        assert service.log().count("drained") == 2 and "Traceback" not in service.log()
        assert not any(map(procfs.is_alive, workers))


def test_ctrl_c_in_a_terminal_is_one_signal(service: Service) -> None:
    """The terminal sends it to the whole process group, in which the workers are not."""
    assert all(os.getpgid(worker) == worker for worker in children(service))
    assert service.stop(signal.SIGINT) == 0 and "again" not in service.log()


def test_a_second_signal_does_not_wait(lenet5_repository: Path) -> None:
    with running("--repository", lenet5_repository, "--workers", 2, "--drain-seconds", 60) as service:
        service.wait_ready()
        service.process.send_signal(signal.SIGTERM)
        service.wait_until(lambda: service.log().count("not ready any more") == 2)
        started = time.monotonic()
        assert service.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 5


def test_workers_do_not_outlive_their_parent(service: Service) -> None:
    workers = children(service)
    port = service.http_port
    service.process.kill()
    service.process.wait()
    deadline = time.monotonic() + 30
    while any(map(procfs.is_alive, workers)):
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.05)
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert "parent process is gone" in service.log()


def test_workers_that_cannot_start_end_it_with_a_reason(tmp_path: Path) -> None:
    env = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with running("--repository", tmp_path, "--workers", 2, "--otlp-endpoint", "http://127.0.0.1:1", env=env) as service:
        assert service.process.wait(60) == 1
        last = service.log().splitlines()[-1]
        assert re.search(r"worker \d ended 3 times, the last time with exit code 1; see above why", last)
        assert "http/protobuf" in service.log() and "Traceback" not in service.log()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("which", ["http", "grpc"])
def test_strangers_do_not_get_the_workers_ports(shared: Service, which: str, workers: str, tmp_path: Path) -> None:
    ports = {"--http-port": "0", "--grpc-port": "0"}
    ports[f"--{which}-port"] = str(shared.http_port if which == "http" else shared.grpc_port)
    arguments = ["--host", "127.0.0.1", "--repository", str(tmp_path), "--workers", workers, *sum(ports.items(), ())]
    done = subprocess.run([sys.executable, "-m", "service", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "in use" in done.stderr and "Traceback" not in done.stderr
    assert httpx.get(f"{shared.url}/readyz").status_code == 200


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port"])
def test_workers_do_not_share_a_strangers_port(flag: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # even one who would
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"--http-port": "0", "--grpc-port": "0", flag: str(taken.getsockname()[1])}
        arguments = ["--host", "127.0.0.1", "--repository", str(tmp_path), "--workers", "2", *sum(ports.items(), ())]
        done = subprocess.run([sys.executable, "-m", "service", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and flag in done.stderr and "Traceback" not in done.stderr
