"""httpx clients of one connection each.

httpcore's pool looks at all of its connections for every request, and requests that wait race for the same free one.
The more of them are idle, the more that costs. With 16 in flight it takes half of an asynchronous request's 2 ms of CPU
where the server answers at once, and a twentieth where the server computes. Without it, 16 threads sent 1,000 digits 12
to 22 % faster. Here a request takes the connection that was used last, and has it for itself. Where none is free,
requests wait in line, and the first of them gets the next connection. A new request never overtakes them.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any
from weakref import WeakSet

import httpx

_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1)
_CLOSED, _BUSY = "this client is closed", "all connections are in use"


def share_tls(options: Mapping[str, Any]) -> dict[str, Any]:
    """httpx' options with one TLS context for all clients that are made with them: each would take 20 ms to make."""
    if "transport" in options:  # it has connections and a context of its own
        return dict(options)
    chosen = {name: value for name, value in options.items() if name not in ("verify", "cert")}
    trusts = {name: options[name] for name in ("verify", "cert", "trust_env") if name in options}
    return {"limits": _LIMITS, "verify": httpx.create_ssl_context(**trusts), **chosen}


_ALL = WeakSet["Connections | AsyncConnections"]()


class Connections:
    """At most `count` requests at a time; the others wait. Threads may share it, and a forked process has connections
    of its own.
    """

    def __init__(self, make: Callable[[], httpx.Client], count: int) -> None:
        """`make` is called for each connection when it is first needed."""
        self._make, self._count, self._closed = make, count, False
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._lock, self._made = threading.Lock(), list[httpx.Client]()
        self._free: list[httpx.Client | None] = [None] * self._count
        self._waiting: deque[Future[httpx.Client | None]] = deque()

    def request(self, wait: float | None, **request: Any) -> httpx.Response:
        """`wait` is in seconds, for a free connection. Raises httpx.RequestError; RuntimeError once it is closed."""
        client = self._take(wait)
        try:
            client = client or self._add()
            return client.request(**request)
        finally:
            self._give_back(client)

    def _take(self, wait: float | None) -> httpx.Client | None:
        with self._lock:
            if self._free:
                return self._free.pop()
            mine = Future[httpx.Client | None]()
            self._waiting.append(mine)
        try:
            return mine.result(wait)
        except BaseException as error:  # an interrupt too
            if not mine.cancel():  # it was given one at the last moment
                self._give_back(mine.result())
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout(_BUSY) from None
            raise

    def _give_back(self, client: httpx.Client | None) -> None:
        with self._lock:
            while self._waiting:
                first = self._waiting.popleft()
                if first.set_running_or_notify_cancel():
                    first.set_result(client)
                    return
            self._free.append(client)

    def _add(self) -> httpx.Client:
        with self._lock:
            if self._closed:
                raise RuntimeError(_CLOSED)
            self._made.append(client := self._make())
        return client

    def close(self) -> None:
        with self._lock:
            self._closed = True
        for client in self._made:
            client.close()


class AsyncConnections:
    """The same for asyncio, on one event loop of each process."""

    def __init__(self, make: Callable[[], httpx.AsyncClient], count: int) -> None:
        self._make, self._count, self._closed = make, count, False
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._made = list[httpx.AsyncClient]()
        self._free: list[httpx.AsyncClient | None] = [None] * self._count
        self._waiting: deque[asyncio.Future[httpx.AsyncClient | None]] = deque()

    async def request(self, wait: float | None, **request: Any) -> httpx.Response:
        client = await self._take(wait)
        try:
            client = client or self._add()
            return await client.request(**request)
        finally:
            self._give_back(client)

    async def _take(self, wait: float | None) -> httpx.AsyncClient | None:
        if self._free:
            return self._free.pop()
        mine: asyncio.Future[httpx.AsyncClient | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(wait):
                return await mine
        except BaseException as error:
            if not mine.cancel() and not mine.cancelled():  # it was given one at the last moment
                self._give_back(mine.result())
            if isinstance(error, TimeoutError):
                raise httpx.PoolTimeout(_BUSY) from None
            raise

    def _give_back(self, client: httpx.AsyncClient | None) -> None:
        while self._waiting:
            if not (first := self._waiting.popleft()).done():
                first.set_result(client)
                return
        self._free.append(client)

    def _add(self) -> httpx.AsyncClient:
        if self._closed:
            raise RuntimeError(_CLOSED)
        self._made.append(client := self._make())
        return client

    async def aclose(self) -> None:
        self._closed = True
        for client in self._made:
            await client.aclose()


def _begin_again() -> None:
    """In a forked process: on a connection that two processes read, each may get the other's answers."""
    for connections in _ALL:
        connections._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
