"""uvicorn, run inside our event loop and stopped by us rather than by its own signal handlers."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from service.rest import connections
from service.rest.connections import BoundedProtocol, Config, ConnectionLimits
from service.rest.door import Door

_BACKLOG = 2048
_STORMS = ("Invalid HTTP request received.", "Unsupported upgrade request.")  # a line for each; counted instead


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: Config, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._bounds, self._listener, self._tls = config, listener, tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        self.started = False  # not before this: uvicorn itself would let a handshake take a minute
        server = await asyncio.get_running_loop().create_server(
            lambda: BoundedProtocol(self._bounds, self.server_state, self.lifespan.state),
            sock=self._listener,
            ssl=self._tls,
            ssl_handshake_timeout=self._bounds.limits.header_seconds if self._tls else None,
            backlog=_BACKLOG,
        )
        self.servers.append(server)
        self.started = True


class HttpServer:
    """HTTPS where there is a `tls` context. `door` may answer ahead of `app`. `refused` is told why a connection was
    ended before it could ask.
    """

    def __init__(
        self,
        app: FastAPI,
        door: Door,
        listener: socket.socket,
        grace: float,
        limits: ConnectionLimits,
        refused: Callable[[str], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is
            timeout_keep_alive=connections.KEEP_ALIVE,
            timeout_graceful_shutdown=int(grace),
        )
        config.limits, config.refused, config.door = limits, refused, door
        logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg not in _STORMS)
        self._server = _Uvicorn(config, listener, tls)
        self._serving: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it listens."""
        loop = asyncio.get_running_loop()
        self._serving = loop.create_task(self._server.serve())
        self._sweeping = loop.create_task(connections.sweep(self._server.server_state.connections))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Closes the listener and idle connections; requests under way finish."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        if self._sweeping is not None:
            self._sweeping.cancel()
