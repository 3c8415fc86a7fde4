"""uvicorn, run inside our event loop and stopped by us rather than by its own signal handlers."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

_KEEP_ALIVE = 75  # seconds: longer than load balancers keep idle connections, so that they close first


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    def __init__(self, app: FastAPI, listener: socket.socket, grace: float) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=int(grace),
        )
        self._server, self._listener = _Uvicorn(config), listener
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it listens."""
        self._serving = asyncio.get_running_loop().create_task(self._server.serve([self._listener]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Closes the listener and idle connections; requests under way finish."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
