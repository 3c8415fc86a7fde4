"""The cheapest load that Python makes: one body POSTed over raw sockets, in an open loop or in a closed one.

A request costs the generator some 30 us, so that it takes little from a server on the same cores.
"""

import asyncio
import itertools
import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

MOST_CONNECTIONS = 2500  # of an open loop
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TICK = 0.0005  # seconds between two looks at what an open loop has to start

Ended = Callable[["_Connection", int], None]
"""Told a connection and the status of its answer, 0 where there was none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it was meant to start, in seconds from the load's start, and how long after that it ended.

    `status` is HTTP's, or 0 where there was none.
    """

    intended: float
    seconds: float
    status: int


class _Connection(asyncio.Protocol):
    """One request at a time. `usable` is False once the server has closed it, or said that it will."""

    def __init__(self, ended: Ended) -> None:
        self._ended, self._read = ended, b""
        self._asked = False
        self.usable = True
        self.intended = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP's can be written to
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._end(0)

    def ask(self, request: bytes, intended: float) -> None:
        self.intended, self._asked = intended, True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read = read = self._read + data if self._read else data
        end = read.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(read, 0, end)
        if length is None or len(read) < end + 4 + int(length[1]):
            return
        self._read = b""
        if b"connection: close" in read[:end].lower():
            self.usable = False
            self.transport.close()
        self._end(int(read[9:12]))

    def _end(self, status: int) -> None:
        if self._asked:
            self._asked = False
            self._ended(self, status)


class _Loop:
    """Connections to one URL, and the outcomes of what was sent over them."""

    def __init__(self, url: str, body: bytes, headers: Sequence[str] = ()) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = parts.hostname, parts.port or 80
        head = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
        self._head = "\r\n".join([*head, "Content-Type: image/jpeg", *headers, ""]).encode()
        self._end = b"\r\n\r\n" + body
        self._numbers, self._trace = itertools.count(1), os.urandom(12).hex()
        self._zero = 0.0
        self._outcomes: list[Outcome] = []

    def _make_request(self) -> bytes:
        """With an id and a trace of its own, as requests have that come through a proxy."""
        number = next(self._numbers)
        identity = (
            f"X-Request-Id: {self._trace}{number:08x}\r\ntraceparent: 00-{self._trace}{number:08x}-{number:016x}-01"
        )
        return self._head + identity.encode() + self._end

    async def _connect(self, ended: Ended) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(lambda: _Connection(ended), *self._address)
        return connection

    def _note(self, intended: float, status: int) -> None:
        self._outcomes.append(Outcome(intended, time.perf_counter() - self._zero - intended, status))


class OpenLoop(_Loop):
    """Requests that come when they come, whatever the server does, with latency from the intended start: over as many
    connections as it takes, each used again as soon as it is free.
    """

    def __init__(self, url: str, body: bytes, headers: Sequence[str] = ()) -> None:
        super().__init__(url, body, headers)
        self._idle: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self._open = self._left = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._done = asyncio.Event()

    async def run(self, starts: Sequence[float]) -> list[Outcome]:
        """One request at each of `starts`, seconds from now, ascending."""
        self._outcomes, self._left = [], len(starts)
        self._done.clear()
        self._zero = time.perf_counter()
        for start in starts:
            while (early := self._zero + start - time.perf_counter()) > 0:
                await asyncio.sleep(max(early, _TICK))
            self._start(start)
        if starts:
            await self._done.wait()
        return self._outcomes

    async def close(self) -> None:
        for connection in self._idle:
            connection.transport.close()

    def _start(self, intended: float) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                connection.ask(self._make_request(), intended)
                return
            self._open -= 1
        self._waiting.append(intended)
        if self._open < MOST_CONNECTIONS:
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._add())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _add(self) -> None:
        try:
            connection = await self._connect(self._ended)
        except OSError:
            self._open -= 1
            if self._waiting:
                self._finish(self._waiting.popleft(), 0)
        else:
            self._go_on(connection)

    def _ended(self, connection: _Connection, status: int) -> None:
        self._finish(connection.intended, status)
        self._go_on(connection)

    def _go_on(self, connection: _Connection) -> None:
        if not connection.usable:
            self._open -= 1
            if self._waiting:
                self._start(self._waiting.popleft())
        elif self._waiting:
            connection.ask(self._make_request(), self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _finish(self, intended: float, status: int) -> None:
        self._note(intended, status)
        self._left -= 1
        if not self._left:
            self._done.set()


class ClosedLoop(_Loop):
    """Clients that each send their next request as soon as the last was answered, whatever the answer was."""

    async def run(self, connections: int, seconds: float) -> list[Outcome]:
        """Raises OSError where a connection cannot be opened."""
        self._outcomes = []
        over = asyncio.Event()
        left = connections

        def ended(connection: _Connection, status: int) -> None:
            nonlocal left
            self._note(connection.intended, status)
            now = time.perf_counter() - self._zero
            if now < seconds and connection.usable:
                connection.ask(self._make_request(), now)
                return
            left -= 1
            if not left:
                over.set()

        opened = await asyncio.gather(*(self._connect(ended) for _ in range(connections)))
        self._zero = time.perf_counter()
        for connection in opened:
            connection.ask(self._make_request(), 0.0)
        await over.wait()
        for connection in opened:
            connection.transport.close()
        return self._outcomes
