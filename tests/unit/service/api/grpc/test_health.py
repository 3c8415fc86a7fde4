"""Who checks and who watches, where one of them does not take what it is sent."""

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2

from service.api.grpc.health import Health

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Watcher:
    """A call's context, of a client that takes its messages, or never does."""

    def __init__(self, *, takes: bool) -> None:
        self._takes = takes
        self.told: asyncio.Queue[int] = asyncio.Queue()

    async def write(self, reply: Any) -> None:
        await self.told.put(reply.status)
        if not self._takes:
            await asyncio.Event().wait()


async def test_a_watcher_that_takes_nothing_holds_nobody_up() -> None:
    ready = False
    health = Health(["", "a.Service"], lambda: ready)
    request = health_pb2.HealthCheckRequest(service="a.Service")
    stuck, other = Watcher(takes=False), Watcher(takes=True)
    tasks = [asyncio.create_task(health.Watch(request, watcher)) for watcher in (stuck, other)]
    tasks.append(asyncio.create_task(health.follow()))
    assert await stuck.told.get() == await other.told.get() == NOT_SERVING
    for status in (SERVING, NOT_SERVING, SERVING):
        ready = status == SERVING
        assert await asyncio.wait_for(other.told.get(), 5) == status
        context: Any = other
        assert (await asyncio.wait_for(health.Check(request, context), 5)).status == status
    assert stuck.told.empty()
    for task in tasks:
        task.cancel()


async def test_a_check_never_says_what_was() -> None:
    """Readiness is asked at the moment, not at the last look."""
    ready = True
    health = Health([""], lambda: ready)
    context: Any = Watcher(takes=True)
    for status in (SERVING, NOT_SERVING):
        ready = status == SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest(), context)).status == status
