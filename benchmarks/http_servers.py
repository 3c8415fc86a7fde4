"""`python -m benchmarks.http_servers`: uvicorn, uvicorn with this service's connection class, and granian side by side.

Prints latency and throughput, of an ASGI application that does nothing and of this service's own, and what each server
does with slow clients, oversized requests and disconnects. It needs granian, which is not a dependency of the project:
`pip install granian`. docs/decisions/0004-uvicorn-with-our-connection-class.md draws the conclusion.
"""

import argparse
import asyncio
import json
import re
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import wrk
from loadtest.target.process import ServerProcess

_CONNECTIONS = (1, 32)
_HEADER_SECONDS = 1
_THIS = "benchmarks.http_servers"

_left = 0


async def nothing(scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    """An ASGI application that answers with the length of the body. /wait never answers, and counts disconnects."""
    global _left
    if scope["type"] != "http":
        return
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        _left += 1
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = json.dumps({"bytes": size, "left": _left}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Service:
    """This service's application over the fake backend. The first request builds it, in its server's event loop."""

    app: Any = None
    building: "asyncio.Task[Any] | None" = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self.app is None:
            self.building = self.building or asyncio.create_task(self._build())
            await asyncio.shield(self.building)
        await self.app(scope, receive, send)

    async def _build(self) -> None:
        from service.api.http_app import HttpGuards, create_app
        from service.server.app import build
        from service.settings import Settings

        core = build(Settings.model_validate({"backend": "fake"}))
        await core.catalog.sync()
        self.app = create_app(core.predictor, core.metrics, core.access, core.gate, HttpGuards(2**25, 20.0))


service = _Service()


def _uvicorn(app: str, ready: str, predict: str) -> ServerProcess:
    command = [sys.executable, "-m", "uvicorn", f"{_THIS}:{app}", "--port", "0", "--no-access-log", "--loop", "uvloop"]
    return ServerProcess([*command, "--lifespan", "off"], r"running on http://127\.0\.0\.1:(\d+)", ready, predict)


def _granian(app: str, ready: str, predict: str) -> ServerProcess:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "granian", f"{_THIS}:{app}", "--interface", "asginl", "--loop", "uvloop"]
    command += ["--port", str(port), "--http1-header-read-timeout", str(1000 * _HEADER_SECONDS)]
    return ServerProcess([*command, "--http1-buffer-size", "32768"], r"127\.0\.0\.1:(\d+)", ready, predict)


def _servers() -> dict[str, ServerProcess]:
    timeout = ("--header-timeout-seconds", str(_HEADER_SECONDS))
    return {
        "nothing, uvicorn": _uvicorn("nothing", "/", "/"),
        "nothing, granian": _granian("nothing", "/", "/"),
        "service, uvicorn": _uvicorn("service", "/healthz", "/predict/fake"),
        "service, uvicorn + our connection": ServerProcess.service(Path(), "fake", "--backend", "fake", *timeout),
        "service, granian": _granian("service", "/healthz", "/predict/fake"),
    }


def measure(servers: Mapping[str, ServerProcess], picture: Path, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Server -> medians over the rounds of p50 in ms and requests a second, of each number of connections. The servers
    take turns.
    """
    found: dict[str, list[list[float]]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            row = []
            for connections in _CONNECTIONS:
                load = wrk.measure(server.url, picture, connections, seconds)
                row += [load.p50_ms, load.requests / load.seconds]
            found[name].append(row)
    return {name: list(map(statistics.median, zip(*rows, strict=True))) for name, rows in found.items()}


def probe(port: int, picture: bytes) -> dict[str, str]:
    """What the server does with clients that do not behave."""
    get = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
    post = b"POST /predict/fake HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\n"
    return {
        "headers that do not end": _converse(port, get),
        "100 kB of headers": _converse(port, get + b"a: " + b"b" * 100_000 + b"\r\n\r\n"),
        "1,000 headers": _converse(port, get + b"a: b\r\n" * 1000 + b"\r\n"),
        "nothing is sent": _converse(port, b""),
        "a body that does not come": _converse(port, post + b"content-length: 9\r\n\r\n"),
        "expect: 100-continue": _converse(port, post + b"content-length: 9\r\nexpect: 100-continue\r\n\r\n"),
        "no HTTP": _converse(port, b"\x16\x03\x01hello\r\n\r\n"),
        "sends all, then half-closes": _converse(port, get + b"\r\n", half_close=True),
        "upgrade with a body": _converse(
            port, post + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: %d\r\n\r\n" % len(picture) + picture
        ),
    }


def _converse(port: int, words: bytes, *, half_close: bool = False, seconds: float = 4.0) -> str:
    """The first line of the answer, and after how long the server closed the connection."""
    began, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        try:
            sock.sendall(words)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
            while (left := began + seconds - time.monotonic()) > 0:
                sock.settimeout(left)
                if not (part := sock.recv(65536)):
                    ended = f"closed after {time.monotonic() - began:.1f} s"
                    break
                answer += part
            else:
                ended = f"open after {seconds:.0f} s"
        except TimeoutError:
            ended = f"open after {seconds:.0f} s"
        except OSError as error:
            ended = f"{type(error).__name__} after {time.monotonic() - began:.1f} s"
    line = answer.partition(b"\r\n")[0].decode(errors="replace")
    return f"{line or 'no answer'}; {ended}"


def hears_of_leaving(port: int) -> bool:
    """Whether the application hears that its client has gone."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.3)
    time.sleep(0.5)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as reply:
        return bool(json.loads(reply.read())["left"])


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.http_servers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load")
    parser.add_argument("--rounds", type=int, default=3, help="loads of each server, taken in turns")
    given = parser.parse_args()
    with ExitStack() as stack:
        picture = Path(stack.enter_context(tempfile.TemporaryDirectory()), "8x8.jpg")
        Image.new("RGB", (8, 8)).save(picture)
        servers = {name: stack.enter_context(server) for name, server in _servers().items()}
        print("| application, server | p50 at 1, ms | requests/s at 1 | p50 at 32, ms | requests/s at 32 |")
        print("| :--- | ---: | ---: | ---: | ---: |")
        for name, row in measure(servers, picture, given.seconds, given.rounds).items():
            print(f"| {name} | " + " | ".join(f"{value:,.{2 * (at % 2 == 0)}f}" for at, value in enumerate(row)) + " |")
        ports = {name: int(re.findall(r":(\d+)", server.base)[0]) for name, server in servers.items()}
        print("\n| client | " + " | ".join(name for name in ports if name.startswith("service")) + " |")
        print("| :--- | :--- | :--- | :--- |")
        answers = {
            name: probe(port, picture.read_bytes()) for name, port in ports.items() if name.startswith("service")
        }
        for what in next(iter(answers.values())):
            print(f"| {what} | " + " | ".join(said[what] for said in answers.values()) + " |")
        for name in ("nothing, uvicorn", "nothing, granian"):
            print(f"\n{name}: the application hears of a client that leaves: {hears_of_leaving(ports[name])}")


if __name__ == "__main__":
    main()
