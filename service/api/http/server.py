"""uvicorn, run inside our event loop and stopped by us rather than by its own signal handlers."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from service.api.http.connection import KEEP_ALIVE, BoundedProtocol, ConnectionSetup, sweep
from service.host import sockets as ports

_ACCEPTED_A_TURN = 16
"""Connections. uvloop accepts one for each listener and turn of its loop, which takes milliseconds under load: a client
that connects then would wait for those before it, unseen. So the listener has duplicates.
"""


class _Uvicorn(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, setup: ConnectionSetup, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._setup, self._listener, self._tls = setup, listener, tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        self.started = False  # not before this: uvicorn itself would let a handshake take a minute
        for listener in (self._listener, *(self._listener.dup() for _ in range(_ACCEPTED_A_TURN - 1))):
            server = await asyncio.get_running_loop().create_server(
                lambda: BoundedProtocol(self._setup, self.config, self.server_state, self.lifespan.state),
                sock=listener,
                ssl=self._tls,
                ssl_handshake_timeout=self._setup.limits.header_seconds if self._tls else None,
                backlog=ports.BACKLOG,
            )
            self.servers.append(server)
        self.started = True


class HttpServer:
    """HTTPS where there is a `tls` context."""

    def __init__(
        self,
        app: FastAPI,
        setup: ConnectionSetup,
        listener: socket.socket,
        grace: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=int(grace),
        )
        self._listener = listener
        self._server = _Uvicorn(config, setup, listener, tls)
        self._serving: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it listens. Raises StartError."""
        ports.listen(self._listener)
        loop = asyncio.get_running_loop()
        self._serving = loop.create_task(self._server.serve())
        self._sweeping = loop.create_task(sweep(self._server.server_state.connections))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Closes the listener and idle connections; requests under way finish."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        if self._sweeping is not None:
            self._sweeping.cancel()
