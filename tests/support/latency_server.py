"""A server of known latency: each answer takes what a seeded distribution says, and once nothing moves for a while.

`python -m tests.support.latency_server SPEC` (Spec, as JSON) prints its port. It answers POSTs of any path.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from random import Random


@dataclass(frozen=True)
class Spec:
    """Seconds: lognormal around `median`, from `seed`. The first `slow_first` requests take a second each.

    Once it has read request number `stall_at` (from 0) it does nothing at all for `stall` seconds, and every
    `fail_every`th request gets a 503 at once.
    """

    median: float = 0.5
    sigma: float = 0.3
    seed: int = 1
    slow_first: int = 0
    stall_at: int = -1
    stall: float = 2.0
    fail_every: int = 0

    def injected(self, count: int) -> list[float]:
        random = Random(self.seed)
        return [self.median * random.lognormvariate(0, self.sigma) for _ in range(count)]

    def truth(self, starts: Sequence[float]) -> list[float]:
        """What requests meant to start at `starts` take, from then on, where nothing but this server takes time.

        Those that come while it stalls are read when that is over; answers due in that time leave when it is.
        """
        begin = starts[self.stall_at - self.slow_first] if self.stall_at >= 0 else float("inf")
        end = begin + self.stall
        taken = []
        for start, latency in zip(starts, self.injected(len(starts)), strict=True):
            due = (end if begin < start < end else start) + latency
            taken.append((max(due, end) if start <= begin < due else due) - start)
        return taken


class _Connection(asyncio.Protocol):
    def __init__(self, server: "_Server") -> None:
        self._server, self._read = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0] or 0)
        if found and len(rest) >= length:
            self._read = rest[length:]
            self._server.asked(self._transport)


class _Server:
    def __init__(self, spec: Spec) -> None:
        self._spec, self._count = spec, 0
        self._latencies = iter(spec.injected(100_000))

    def asked(self, transport: asyncio.Transport) -> None:
        number, spec, loop = self._count, self._spec, asyncio.get_running_loop()
        self._count += 1
        latency = 1.0 if number < spec.slow_first else next(self._latencies)
        if spec.fail_every and number % spec.fail_every == 0:
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
            return
        due = time.monotonic() + latency
        if number == spec.stall_at:
            time.sleep(spec.stall)
        answer = b"HTTP/1.1 200 OK\r\nServer-Timing: compute;dur=%.3f, total;dur=%.3f\r\nContent-Length: 2\r\n\r\n{}"
        loop.call_at(due, transport.write, answer % (1000 * latency, 1000 * latency))


@contextmanager
def serving(spec: Spec) -> Iterator[str]:
    """Its URL."""
    command = [sys.executable, "-m", "tests.support.latency_server", json.dumps(asdict(spec))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


async def _serve(spec: Spec) -> None:
    server = _Server(spec)
    listening = await asyncio.get_running_loop().create_server(
        lambda: _Connection(server), "127.0.0.1", 0, backlog=1024
    )
    print(listening.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Spec(**json.loads(sys.argv[1]))))
