"""uvicorn, run inside our event loop and stopped by us rather than by its own signal handlers."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from service.api.http import connection as connections
from service.api.http.connection import BoundedProtocol, Config, ConnectionLimits
from service.api.http.door import Door
from service.host import sockets as ports


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
            backlog=ports.BACKLOG,
        )
        self.servers.append(server)
        self.started = True


class HttpServer:
    """HTTPS where there is a `tls` context. `door` may answer ahead of `app`. `refused` is told why a connection was
    ended before it could ask, and its client where gRPC is.
    """

    def __init__(
        self,
        app: FastAPI,
        door: Door,
        listener: socket.socket,
        grace: float,
        limits: ConnectionLimits,
        refused: Callable[[str], None],
        grpc_port: int,
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
        config.limits, config.refused, config.grpc_port, config.door = limits, refused, grpc_port, door
        self._listener = listener
        self._server = _Uvicorn(config, listener, tls)
        self._serving: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it listens. Raises StartError."""
        ports.listen(self._listener)
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
