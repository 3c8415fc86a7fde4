"""What one HTTP connection reads as requests, and which answers it gets: the real server, on the service's event loop,
over real sockets, in front of an application that echoes.
"""

import asyncio
import gc
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.api.http.connection import ConnectionLimits, ConnectionSetup
from service.api.http.door import Held, Reads, Refusal
from service.api.http.request import DISCONNECT
from service.api.http.server import HttpServer
from service.errors import Cancelled

LIMITS = ConnectionLimits(connections=100, header_bytes=4096, headers=20, header_seconds=2, body_seconds=2)
BODY = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"  # what a body must never be taken for
FRAMED = {
    "content-length": (b"content-length: %d\r\n" % len(BODY), BODY),
    "chunked": (
        b"transfer-encoding: chunked\r\n",
        b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:]),
    ),
}
UPGRADES = {
    "h2c": b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
    "websocket": b"connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "tls": b"connection: Upgrade\r\nupgrade: TLS/1.3, HTTP/1.1\r\n",
}


@dataclass
class Echo:
    """Answers with what it was asked, /early without reading its body. /held and /working wait for `released`, and
    `gone` is set where the client left first, which /working does not look for.
    """

    released: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: list[str] = field(default_factory=list)
    port: int = 0
    stop: Callable[[], Coroutine[Any, Any, None]] = field(init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["path"] == "/working":
            self.held.set()
            try:
                with scope[DISCONNECT].cancels_task():
                    await self.released.wait()
            except Cancelled:
                self.gone.set()
                return
        if scope["path"] == "/held":
            self.held.set()
            left, released = asyncio.ensure_future(receive()), asyncio.ensure_future(self.released.wait())
            await asyncio.wait((left, released), return_when=asyncio.FIRST_COMPLETED)
            released.cancel()
            if left.done():
                self.gone.set()
                return
            left.cancel()
        said = json.dumps({"method": scope["method"], "path": scope["path"], "body": body.decode()}).encode()
        headers = [(b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else said})

    async def ask(self, *pieces: bytes, eof: bool = True) -> list[Any]:
        """The answers to what is sent piece by piece, each a read of its own there: JSON, or a refusal's status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with closing(writer):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)  # as far as our end goes; the kernel hands it on at once
            if eof:
                writer.write_eof()
            return answers(await asyncio.wait_for(reader.read(), 2))


def answers(raw: bytes) -> list[Any]:
    found: list[Any] = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 "), raw
        length = int(next(line for line in lines if line.startswith(b"content-length")).partition(b":")[2])
        status, body, raw = int(lines[0][9:12]), json.loads(rest[:length]), rest[length:]
        found.append(
            (body["method"], body["path"], body["body"]) if status == 200 else (status, body["error"]["message"])
        )
    return found


class OpenDoor:
    """Lets everybody in."""

    draining = False

    def __init__(self) -> None:
        self.reads, self.held = Reads(), Held()

    def refuse(self, scope: Any) -> Refusal | None:
        """Lets everybody in but those that ask for /refused, who wait for a tenth of a second."""
        if scope["path"] != "/refused":
            return None
        body = b'{"error":{"message":"full"}}'
        head = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: %d\r\n" % len(body)
        return Refusal(head, body, 0.1, lambda: None)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    listener = socket.create_server(("127.0.0.1", 0))
    echo = Echo(port=listener.getsockname()[1])
    door: Any = OpenDoor()
    setup = ConnectionSetup(LIMITS, door, echo.refusals.append, 4242)
    server = HttpServer(echo, setup, listener, 2)  # type: ignore[arg-type]
    echo.stop = server.stop
    await server.start()
    yield echo
    await server.stop()


@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("cut", [0, 1, -1])
async def test_an_upgrade_that_is_not_taken_changes_nothing(echo: Echo, upgrade: str, framing: str, cut: int) -> None:
    """The body is a body, however it is cut, and what is pipelined after it is the next request."""
    framed, body = FRAMED[framing]
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\n" + UPGRADES[upgrade] + framed + b"\r\n"
    next_one = b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n"
    whole = head + body + next_one
    at = len(head) + cut if cut else len(whole)
    got = await echo.ask(whole[:at], whole[at:])
    assert got == [("POST", "/echo", BODY.decode()), ("GET", "/next", "")] and not echo.refusals


@pytest.mark.parametrize("framing", ["", *FRAMED])
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1\r\nconnection: close, upgrade\r\nupgrade: h2c\r\n",
        b"HTTP/1.1\r\nconnection: upgrade\r\nconnection: close\r\nupgrade: h2c\r\n",
        b"HTTP/1.0\r\nconnection: Upgrade\r\nupgrade: websocket\r\n",
    ],
)
async def test_a_client_that_asks_for_an_upgrade_and_the_end_is_answered(echo: Echo, head: bytes, framing: str) -> None:
    framed, body = FRAMED.get(framing, (b"", b""))
    assert await echo.ask(b"POST /echo " + head + framed + b"\r\n" + body, eof=False) == [
        ("POST", "/echo", BODY.decode() if body else "")
    ]


async def test_upgrades_in_a_row_without_a_body_are_answered_in_a_row(echo: Echo) -> None:
    requests = [b"GET /%s HTTP/1.1\r\nhost: x\r\n%s\r\n" % (name.encode(), UPGRADES[name]) for name in UPGRADES]
    assert await echo.ask(b"".join(requests)) == [("GET", f"/{name}", "") for name in UPGRADES]


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n",
        b"POST /echo HTTP/1.1\r\ntransfer-encoding: gzip\r\n" + UPGRADES["h2c"] + b"\r\n",
        b"POST /echo HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n" + UPGRADES["h2c"] + b"\r\n",
    ],
)
async def test_a_body_that_nobody_can_delimit_is_refused(echo: Echo, head: bytes) -> None:
    got = await echo.ask(head + BODY)
    assert [status for status, *_ in got] == [400] and echo.refusals == ["malformed"]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://x", "/"),
        (b"http://x?a=b", "/"),
        (b"HTTPS://me@x:443/echo?a=b", "/echo"),
        (b"http://[::1]:80/echo", "/echo"),
        (b"//x:99999/echo", "//x:99999/echo"),
        (b"*", "*"),
    ],
)
async def test_a_target_of_every_form_is_answered(echo: Echo, target: bytes, path: str) -> None:
    request = b"OPTIONS %s HTTP/1.1\r\nhost: x\r\n\r\n" % target
    assert await echo.ask(2 * request) == 2 * [("OPTIONS", path, "")]
    assert await echo.ask(request.replace(b"host", UPGRADES["h2c"] + b"host")) == [("OPTIONS", path, "")]


@pytest.mark.parametrize("ahead", [0, 1, 3])
async def test_a_target_that_is_none_costs_only_its_own_request(echo: Echo, ahead: int) -> None:
    good = b"POST /one HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"
    *answered, refused = await echo.ask(ahead * good + b"GET http://x:99999/ HTTP/1.1\r\nhost: x\r\n\r\n", eof=False)
    assert answered == ahead * [("POST", "/one", "hi")] and echo.refusals == ["malformed"]
    assert refused == (400, "invalid request target: expected a path or a URL, got 'http://x:99999/'")


async def test_requests_before_broken_bytes_are_answered_first(echo: Echo) -> None:
    """And what is wrong with the bytes after them is said last."""
    good = b"GET /one HTTP/1.1\r\nhost: x\r\n\r\n"
    for broken in (
        b"\x00\x01rubbish\r\n\r\n",
        b"POST /two HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
    ):
        first, second = await echo.ask(good + broken, eof=False)
        assert first == ("GET", "/one", "") and second[0] == 400


async def test_what_waits_in_line_before_broken_bytes_is_answered_too(echo: Echo) -> None:
    """Also where the client half-closes behind them, and the first one takes its time."""
    line = b"".join(b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in (b"held", b"two", b"three"))
    broken = b"POST /four HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n"
    asking = asyncio.create_task(echo.ask(line + broken))
    await echo.held.wait()
    echo.released.set()
    *answered, refused = await asking
    assert [path for _, path, _ in answered] == ["/held", "/two", "/three"] and refused[0] == 400


async def test_too_many_headers_of_a_second_request_do_not_cost_the_first(echo: Echo) -> None:
    many = b"".join(b"x-%d: y\r\n" % number for number in range(30))
    first, second = await echo.ask(
        b"GET /one HTTP/1.1\r\nhost: x\r\n\r\nGET /two HTTP/1.1\r\n" + many + b"\r\n", eof=False
    )
    assert first == ("GET", "/one", "") and second[0] == 431


async def test_a_long_line_of_requests_takes_little_memory_and_is_answered_whole(echo: Echo) -> None:
    """Without a bound each of them, 18 bytes, becomes some kilobytes as fast as it comes; also behind a body, which is
    parsed at once.
    """
    count, body = 10_000, 60_000
    reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    with closing(writer):
        first = b"GET /held HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % body + body * b"x"
        writer.write(first + (count - 1) * b"GET / HTTP/1.1\r\n\r\n")
        await echo.held.wait()
        for _ in range(20):  # long enough for the server to read all that it wants to
            assert await echo.ask(b"GET /other HTTP/1.1\r\n\r\n") == [("GET", "/other", "")]
        assert 1 < sum(isinstance(one, RequestResponseCycle) for one in gc.get_objects()) < 1000
        echo.released.set()
        for _ in range(count):
            await asyncio.wait_for(reader.readuntil(b"}"), 5)


async def test_a_body_of_tiny_chunks_keeps_nobody_waiting(echo: Echo) -> None:
    """What the event loop computes between two looks at its other sockets, whatever else this machine does."""
    longest, done = 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal longest
        while not done.is_set():
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    watching = asyncio.create_task(watch())
    chunks = 300_000
    head = b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    with closing(writer):
        writer.write(head + chunks * b"1\r\nx\r\n" + b"0\r\n\r\n")
        assert answers(await asyncio.wait_for(reader.read(), 20)) == [("POST", "/echo", chunks * "x")]
    done.set()
    await watching
    assert longest < 0.01


async def test_a_body_that_is_answered_before_it_was_read_ends_nothing(echo: Echo) -> None:
    head = b"POST /early HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    early = head + 20_000 * (b"40\r\n%s\r\n" % (64 * b"x")) + b"0\r\n\r\n"
    assert await echo.ask(2 * early + b"GET / HTTP/1.1\r\n\r\n") == [*2 * [("POST", "/early", "")], ("GET", "/", "")]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_client_that_half_closes_gets_all_its_answers(echo: Echo, version: bytes) -> None:
    asking = asyncio.create_task(echo.ask(b"GET /held HTTP/%s\r\nhost: x\r\nconnection: keep-alive\r\n\r\n" % version))
    await echo.held.wait()
    await asyncio.sleep(0.1)  # in which nothing may happen to it
    assert not asking.done() and not echo.gone.is_set()
    echo.released.set()
    assert await asking == [("GET", "/held", "")]


async def test_a_client_that_half_closes_within_a_body_is_given_up(echo: Echo) -> None:
    assert await echo.ask(b"POST /held HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nfive!") == []
    await asyncio.wait_for(echo.gone.wait(), 5)


@pytest.mark.parametrize("first_half", [False, True])
async def test_a_client_that_leaves_is_noticed_while_its_request_runs(echo: Echo, first_half: bool) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
    await echo.held.wait()
    if first_half:
        writer.write_eof()
        await asyncio.sleep(0.05)
        assert not echo.gone.is_set()
    writer.close()
    await asyncio.wait_for(echo.gone.wait(), 5)


@pytest.mark.parametrize("size", [0, 10, 400_000])
@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_client_that_leaves_ends_work_that_does_not_look_for_it(echo: Echo, size: int, pipelined: bool) -> None:
    """Whatever there was to read before, and also where another request has come behind it."""
    _, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    writer.write(b"POST /working HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + size * b"x")
    if pipelined:
        writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
    await echo.held.wait()
    writer.close()
    await asyncio.wait_for(echo.gone.wait(), 5)


@pytest.mark.parametrize(
    ("hello", "says"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", "this port speaks HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "--tls-cert"),
    ],
)
async def test_another_protocol_is_told_where_it_is_spoken(echo: Echo, hello: bytes, says: str) -> None:
    [(status, message)] = await echo.ask(hello, eof=False)
    assert status == 400 and says in message and "gRPC (HTTP/2) is on port 4242 (--grpc-port)" in message


async def test_what_was_asked_before_the_end_is_answered(echo: Echo) -> None:
    """A connection that has just been taken is no idle one, and neither is one whose request has begun."""
    fresh, begun = [await asyncio.open_connection("127.0.0.1", echo.port) for _ in range(2)]
    begun[1].write(b"GET /begun HTTP/1.1\r\n")
    assert await echo.ask(b"GET /later HTTP/1.1\r\nhost: x\r\n\r\n") == [("GET", "/later", "")]  # accepted after those
    stopping = asyncio.create_task(echo.stop())
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):  # nobody has emptied the backlog here
        while True:
            (await asyncio.open_connection("127.0.0.1", echo.port))[1].close()
            await asyncio.sleep(0.01)
    fresh[1].write(b"GET /fresh HTTP/1.1\r\nhost: x\r\n\r\n")
    begun[1].write(b"host: x\r\n\r\n")
    for (reader, writer), path in ((fresh, "/fresh"), (begun, "/begun")):
        with closing(writer):
            assert answers(await asyncio.wait_for(reader.read(), 2)) == [("GET", path, "")]
    await stopping


async def test_idle_connections_do_not_hold_up_the_end(echo: Echo) -> None:
    silent = await asyncio.open_connection("127.0.0.1", echo.port)
    used = await asyncio.open_connection("127.0.0.1", echo.port)
    used[1].write(b"GET /used HTTP/1.1\r\nhost: x\r\n\r\n")
    await used[0].readuntil(b"}")
    await asyncio.wait_for(echo.stop(), 4)
    assert await silent[0].read() == b"" and await used[0].read() == b""
    silent[1].close()
    used[1].close()


async def test_the_body_of_a_refused_request_is_read_and_kept_nowhere(echo: Echo) -> None:
    """A thousand refused photographs that wait for their answers would take a hundred megabytes."""
    size = 3_000_000
    reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    with closing(writer):
        writer.write(b"POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))
        writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
        await asyncio.wait_for(writer.drain(), 5)
        cycles = [one for one in gc.get_objects() if type(one) is RequestResponseCycle]
        assert cycles and all(len(cycle.body) < 100 for cycle in cycles if cycle.scope["path"] == "/refused")
        writer.write_eof()
        assert answers(await asyncio.wait_for(reader.read(), 5)) == [(429, "full"), ("POST", "/echo", "hi")]


async def test_many_clients_that_connect_at_once_are_accepted_within_a_few_turns(echo: Echo) -> None:
    """One a turn would be slow where a turn is: each client's first request would wait for as many turns."""
    accepted = len(asyncio.all_tasks())
    clients = [socket.create_connection(("127.0.0.1", echo.port)) for _ in range(64)]
    try:
        for client in clients:
            client.sendall(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        for _ in range(20):  # turns
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) - accepted >= 64
    finally:
        for client in clients:
            client.close()
