"""Deadlines, impatient clients and overload, over real sockets."""

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from benchmarks.loops import OpenLoop
from tests.support.images import encode, photo
from tests.support.service_process import Service, running


async def load(service: Service, rate: float, seconds: float, *headers: str) -> Counter[int]:
    """The statuses of what an open loop got."""
    client = OpenLoop(f"{service.url}/predict/mobilenet_v3_small", encode(photo(), "JPEG"), headers)
    outcomes = await client.run([count / rate for count in range(int(rate * seconds))])
    await client.close()
    return Counter(outcome.status for outcome in outcomes)


@pytest.mark.alone
def test_what_cannot_be_in_time_is_refused_or_dropped_and_never_computed(demo_repository: Path) -> None:
    with running("--repository", demo_repository) as service:
        service.wait_ready()
        statuses = asyncio.run(load(service, 1500, 3, "X-Request-Deadline-Ms: 15"))
        assert set(statuses) <= {200, 429, 504} and statuses[429] > 0, statuses
        assert service.metric("model_server_dead_rows_total") == 0
        calm = httpx.post(f"{service.url}/predict/mobilenet_v3_small", content=encode(photo(), "JPEG"), timeout=30)
        assert calm.status_code == 200, "who sets no deadline waits as long as it takes"
        assert service.stop() == 0


@pytest.mark.slow
def test_a_slo_is_everybodys_deadline(demo_repository: Path) -> None:
    """An open loop past capacity: some are answered and the rest refused, and afterwards everything is answered."""
    with running("--repository", demo_repository, "--latency-slo-ms", 1000) as service:
        service.wait_ready()
        statuses = asyncio.run(load(service, 1500, 3))
        assert set(statuses) <= {200, 429, 504} and statuses[200] > 100, statuses
        time.sleep(2)
        assert set(asyncio.run(load(service, 10, 2))) == {200}


def test_clients_that_leave_cost_no_computing(demo_repository: Path) -> None:
    """Three in ten close their connection at a random moment: none of their rows is dead when it goes to the model."""
    chance, image = random.Random(3), encode(photo(), "JPEG")
    request = b"POST /predict/mobilenet_v3_small HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        len(image),
        image,
    )

    async def client(port: int, places: asyncio.Semaphore) -> str:
        async with places:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            await writer.drain()
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.1)
                writer.transport.abort()
                return "left"
            status = (await reader.readline()).split()[1].decode()
            writer.close()
            return status

    async def clients(port: int) -> Counter[str]:
        places = asyncio.Semaphore(64)
        return Counter(await asyncio.gather(*(client(port, places) for _ in range(400))))

    with running("--repository", demo_repository) as service:
        service.wait_ready()
        before = service.metric("model_server_batch_rows_sum")
        seen = asyncio.run(clients(service.http_port))
        assert set(seen) == {"left", "200"} and seen["left"] > 60
        service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 0)
        assert service.metric("model_server_dead_rows_total") == 0
        assert service.metric("model_server_batch_rows_sum") - before < 400, "some had left before their turn"
        assert service.stop() == 0
