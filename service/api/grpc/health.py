"""grpc.health.v1 says what /readyz says, of each service and of all of them ("")."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.api.grpc.request import UnaryCall
from service.errors import NotFound

_INTERVAL = 0.1  # seconds between looks, for those who watch
_Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated
    """SERVING while `ready`: asked at every Check, while Watch hears of changes from `follow`.

    The library's servicer lets one watcher that takes no messages hold up everybody else, and the end of the process.
    """

    def __init__(self, services: Collection[str], ready: Callable[[], bool]) -> None:
        self._services, self._ready = services, ready
        self._serving = False
        self._changed = asyncio.Event()

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            self._look()
            await asyncio.sleep(_INTERVAL)

    async def Check(self, request: Any, call: UnaryCall) -> Any:
        if request.service not in self._services:
            raise NotFound(f"there is no service {request.service:.100}")
        self._look()
        return _Status(status=self._status(request.service))

    async def List(self, request: Any, call: UnaryCall) -> Any:
        self._look()
        return health_pb2.HealthListResponse(
            statuses={service: _Status(status=self._status(service)) for service in self._services}
        )

    async def Watch(self, request: Any, context: Any) -> None:
        self._look()
        said = None
        while True:
            changed = self._changed
            if (status := self._status(request.service)) != said:
                said = status
                await context.write(_Status(status=status))
            await changed.wait()

    def _look(self) -> None:
        if (serving := self._ready()) != self._serving:
            self._serving = serving
            self._changed.set()
            self._changed = asyncio.Event()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(_Status.SERVICE_UNKNOWN)
        return int(_Status.SERVING if self._serving else _Status.NOT_SERVING)
