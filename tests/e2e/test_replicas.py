"""The gateway in front of several replicas that die, hang, return and change their versions under load.

Every replica is a real process of this service; every request is counted by the client that sent it.
"""

import asyncio
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import numpy as np
import pytest

from service.host import processes
from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from tests.support import procfs
from tests.support.images import photo
from tests.support.service_process import Service, running

CLIENTS = 16


def request() -> Any:
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "lenet5", "image"
    codec.fill_request(message.inputs["image"], photo()[np.newaxis, :28, :28])
    return message


@contextmanager
def replicas(repository: Path, count: int, *arguments: object) -> Iterator[list[Service]]:
    with ExitStack() as stack:
        services = [stack.enter_context(running("--repository", repository, *arguments)) for _ in range(count)]
        for service in services:
            service.wait_ready()
        yield services


def gateway_of(services: list[Service], absent: Path, *more: object) -> Any:
    target = ",".join(f"127.0.0.1:{service.grpc_port}" for service in services)
    return running(
        "--backend", "tfserving", "--target", target, "--repository", absent, "--poll-interval-seconds", 0.2, *more
    )


class Load:
    """What the clients saw: outcomes by status code, the versions that answered, the slowest answer in seconds."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.versions: Counter[int] = Counter()
        self.slowest = 0.0

    @property
    def answered(self) -> int:
        return self.outcomes["OK"]

    async def more(self, count: int, seconds: float = 60) -> None:
        """Returns when `count` more requests have been answered."""
        wanted, deadline = self.answered + count, time.monotonic() + seconds
        while self.answered < wanted:
            assert time.monotonic() < deadline, self.outcomes
            await asyncio.sleep(0.01)


@asynccontextmanager
async def load(gateway: Service, timeout: float | None = 30.0) -> AsyncIterator[Load]:
    """Clients that ask without pause until the block ends."""
    seen, stop, message = Load(), asyncio.Event(), request()

    async def client(stub: Any) -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                reply = await stub.Predict(message, timeout=timeout)
                seen.outcomes["OK"] += 1
                seen.versions[reply.model_spec.version.value] += 1
            except grpc.aio.AioRpcError as error:
                seen.outcomes[f"{error.code().name}: {error.details()}"] += 1
            seen.slowest = max(seen.slowest, time.monotonic() - began)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        clients = [asyncio.create_task(client(stub)) for _ in range(CLIENTS)]
        try:
            yield seen
        finally:
            stop.set()
            await asyncio.gather(*clients)


def metric(gateway: Service, name: str, service: Service) -> float:
    return gateway.metric(f'model_server_upstream_{name}{{replica="127.0.0.1:{service.grpc_port}"}}')


async def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.1)


async def test_kill_9_costs_no_request_and_the_replica_returns(lenet5_repository: Path, tmp_path: Path) -> None:
    with replicas(lenet5_repository, 3) as services, gateway_of(services, tmp_path / "absent") as gateway:
        gateway.wait_ready()
        async with load(gateway) as seen:
            await seen.more(500)
            for victim in services[:2]:  # in the end one is left
                port = victim.grpc_port
                victim.process.kill()
                victim.process.wait()
                await seen.more(500)
            assert metric(gateway, "ejected", services[0]) == 1 and metric(gateway, "ejected", services[2]) == 0
            with running("--repository", lenet5_repository, "--grpc-port", port) as again:
                again.wait_ready()
                before = metric(gateway, "attempts_total", services[1])
                await until(lambda: metric(gateway, "ejected", services[1]) == 0)
                await seen.more(500)
                assert metric(gateway, "attempts_total", services[1]) > before
        assert set(seen.outcomes) == {"OK"}, seen.outcomes
        assert seen.answered >= 2000
        assert gateway.stop() == 0


@pytest.mark.slow
async def test_a_stopped_process_is_ejected_and_costs_no_request(lenet5_repository: Path, tmp_path: Path) -> None:
    with replicas(lenet5_repository, 2) as services, gateway_of(services, tmp_path / "absent") as gateway:
        gateway.wait_ready()
        hung = services[0]
        try:
            async with load(gateway) as seen:
                await seen.more(500)
                seen.slowest = 0.0
                hung.process.send_signal(signal.SIGSTOP)
                await until(lambda: metric(gateway, "ejected", hung) == 1)
                attempts = metric(gateway, "attempts_total", hung)
                await seen.more(1000)
                assert metric(gateway, "attempts_total", hung) - attempts <= 2, "at most on trial"
                hung.process.send_signal(signal.SIGCONT)
                await until(lambda: metric(gateway, "ejected", hung) == 0)
                await seen.more(200)
            assert set(seen.outcomes) == {"OK"}, seen.outcomes
            # One patience: eight times the slowest answer before it, 0.5 s at least.
            assert seen.slowest < 10
        finally:
            hung.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
async def test_a_rolling_update_costs_no_request(lenet5_repository: Path, tmp_path: Path) -> None:
    """Replicas that keep one version, as TensorFlow Serving does, each get version 2 at another time."""
    repositories = [tmp_path / str(number) for number in range(2)]
    for repository in repositories:
        shutil.copytree(lenet5_repository, repository)
    with ExitStack() as stack:
        services = [
            stack.enter_context(
                running("--repository", repository, "--keep-versions", 1, "--poll-interval-seconds", 0.2)
            )
            for repository in repositories
        ]
        for service in services:
            service.wait_ready()
        gateway = stack.enter_context(gateway_of(services, tmp_path / "absent", "--poll-interval-seconds", 5))
        gateway.wait_ready()
        async with load(gateway) as seen:
            await seen.more(200)
            for repository in repositories:
                shutil.copytree(repository / "lenet5" / "1", repository / "lenet5" / "2")
                await seen.more(200)
                await asyncio.sleep(2)
            await until(lambda: seen.versions[2] > 0)
            await seen.more(200)
        assert set(seen.outcomes) == {"OK"}, seen.outcomes
        assert set(seen.versions) == {1, 2}


async def test_all_replicas_gone_is_said_at_once(lenet5_repository: Path, tmp_path: Path) -> None:
    with replicas(lenet5_repository, 2) as services, gateway_of(services, tmp_path / "absent") as gateway:
        gateway.wait_ready()
        async with load(gateway) as seen:
            await seen.more(50)
        for service in services:
            service.process.kill()
            service.process.wait()
        async with load(gateway, timeout=5) as seen:
            await until(lambda: seen.outcomes.total() > 50)
        assert set(seen.outcomes) == {"UNAVAILABLE: no upstream could answer; ask again later"}
        assert seen.slowest < 4
        assert gateway.stop() == 0


def test_the_gateway_is_small_and_quick(lenet5_repository: Path, tmp_path: Path) -> None:
    """No TensorFlow, no LiteRT: in under 110 MB, and ready after a start that takes little of a processor.

    On an idle machine it is ready within a second (docs/gateway.md); how long a busy one takes is its own affair.
    """
    with replicas(lenet5_repository, 1) as services:
        spent = []
        for _ in range(3):
            with gateway_of(services, tmp_path / "absent") as gateway:
                gateway.wait_ready()
                spent.append(procfs.cpu_seconds(gateway.process.pid))
                httpx.get(f"{gateway.url}/models/lenet5").raise_for_status()
                peak = processes.peak_mb(gateway.process.pid)
                assert peak < 110, f"{peak:.0f} MB"
                mapped = procfs.list_mapped(gateway.process.pid)
                assert not any(heavy in mapped for heavy in ("tensorflow", "litert", "sklearn"))
        assert min(spent) < 2, f"ready after {min(spent):.2f} s of a processor"
