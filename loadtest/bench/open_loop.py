"""Requests that come when they come, whatever the server does: an open loop, with latency from the intended start."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_MOST_CONNECTIONS = 800


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it was meant to start, in seconds from the load's start, and how long after that it ended.

    `status` is HTTP's, or 0 where there was none.
    """

    intended: float
    seconds: float
    status: int


class OpenLoop:
    """POSTs one body over as many connections as it takes, each used again as soon as it is free."""

    def __init__(self, url: str, body: bytes, headers: Sequence[str] = ()) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = parts.hostname, parts.port or 80
        head = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
        self._request = "\r\n".join([*head, "Content-Type: image/jpeg", *headers, "", ""]).encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._places = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def run(self, starts: Sequence[float]) -> list[Outcome]:
        """One request at each of `starts`, seconds from now, ascending."""
        zero = time.perf_counter()
        tasks = []
        for start in starts:
            await asyncio.sleep(zero + start - time.perf_counter())
            tasks.append(asyncio.create_task(self._one(zero, start)))
        return list(await asyncio.gather(*tasks))

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()

    async def _one(self, zero: float, start: float) -> Outcome:
        try:
            async with self._places:
                status = await self._exchange()
        except (OSError, asyncio.IncompleteReadError, ValueError):
            status = 0
        return Outcome(start, time.perf_counter() - zero - start, status)

    async def _exchange(self) -> int:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length:")[2].split()[0]
        await reader.readexactly(int(length))
        if "connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split()[1])
