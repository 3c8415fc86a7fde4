"""httpx clients of one connection each.

httpcore's pool looks at all of its connections for every request, and requests that wait race for the same free one.
The more of them are idle, the more that costs. With 16 in flight it takes half of an asynchronous request's 2 ms of CPU
where the server answers at once, and a twentieth where the server computes. Without it, 16 threads sent 1,000 digits 12
to 22 % faster. Here a request takes the connection that was used last, and has it for itself.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx

_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1)
_CLOSED = "this client is closed"


def share_tls(options: Mapping[str, Any]) -> dict[str, Any]:
    """httpx' options with one TLS context for all clients that are made with them: each would take 20 ms to make."""
    if "transport" in options:  # it has connections and a context of its own
        return dict(options)
    chosen = {name: value for name, value in options.items() if name not in ("verify", "cert")}
    trusts = {name: options[name] for name in ("verify", "cert", "trust_env") if name in options}
    return {"limits": _LIMITS, "verify": httpx.create_ssl_context(**trusts), **chosen}


class Connections:
    """At most `count` requests at a time; the others wait. Threads may share it."""

    def __init__(self, make: Callable[[], httpx.Client], count: int) -> None:
        """`make` is called for each connection when it is first needed."""
        self._make, self._made, self._lock = make, list[httpx.Client](), threading.Lock()
        self._closed = False
        self._free: queue.LifoQueue[httpx.Client | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)

    def request(self, wait: float | None, **request: Any) -> httpx.Response:
        """`wait` is in seconds, for a free connection. Raises httpx.RequestError; RuntimeError once it is closed."""
        try:
            client = self._free.get(timeout=wait)
        except queue.Empty:
            raise httpx.PoolTimeout("all connections are in use") from None
        try:
            client = client or self._add()
            return client.request(**request)
        finally:
            self._free.put(client)

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
    """The same for asyncio."""

    def __init__(self, make: Callable[[], httpx.AsyncClient], count: int) -> None:
        self._make, self._made, self._closed = make, list[httpx.AsyncClient](), False
        self._free: asyncio.LifoQueue[httpx.AsyncClient | None] = asyncio.LifoQueue()
        for _ in range(count):
            self._free.put_nowait(None)

    async def request(self, wait: float | None, **request: Any) -> httpx.Response:
        client = await self._take(wait)
        try:
            client = client or self._add()
            return await client.request(**request)
        finally:
            self._free.put_nowait(client)

    async def _take(self, wait: float | None) -> httpx.AsyncClient | None:
        with suppress(asyncio.QueueEmpty):
            return self._free.get_nowait()
        try:
            async with asyncio.timeout(wait):
                return await self._free.get()
        except TimeoutError:
            raise httpx.PoolTimeout("all connections are in use") from None

    def _add(self) -> httpx.AsyncClient:
        if self._closed:
            raise RuntimeError(_CLOSED)
        self._made.append(client := self._make())
        return client

    async def aclose(self) -> None:
        self._closed = True
        for client in self._made:
            await client.aclose()
