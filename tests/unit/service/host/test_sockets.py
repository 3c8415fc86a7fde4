"""Whose port it is, on the kernel's own sockets."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from service.host import sockets as ports

HOST = "127.0.0.1"


@contextmanager
def serving(port: int, workers: int, *, listening: bool = True) -> Iterator[list[socket.socket]]:
    """The sockets of a service: its own where it is one process, else its workers'."""
    with ExitStack() as stack:
        own = stack.enter_context(ports.own(HOST, port, "--http-port"))
        sockets = [own]
        if workers > 1:
            ports.lend(own)
            number = own.getsockname()[1]
            sockets = [stack.enter_context(ports.borrow(HOST, number, "--http-port")) for _ in range(workers)]
        if listening:
            for sock in sockets:
                ports.listen(sock)
        yield sockets


@contextmanager
def lingering(sockets: list[socket.socket]) -> Iterator[None]:
    """Connections to these that outlive them: closed by us first, by both, and by nobody."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(sockets[0].getsockname())) for _ in range(24)]
        accepted = []
        for sock in sockets:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    accepted.append(stack.enter_context(sock.accept()[0]))
        assert len(accepted) == len(clients)
        for ours in accepted[::2]:
            ours.close()
        for client in clients[::3]:
            client.close()
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PATIENCE", 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("after", [1, 2])
@pytest.mark.parametrize("before", [1, 2])
def test_connections_that_linger_keep_nobody_from_the_port(before: int, after: int) -> None:
    with ExitStack() as stack:
        with serving(0, before) as sockets:
            port = sockets[0].getsockname()[1]
            stack.enter_context(lingering(sockets))
        with serving(port, after) as sockets:
            assert len(sockets) == after


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize("other", [1, 2])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("again", [False, True])
def test_a_service_lets_no_other_to_its_port(workers: int, other: int, listening: bool, again: bool) -> None:
    """Nor where it was itself started on one with connections that linger."""
    with ExitStack() as stack:
        port = 0
        if again:
            with serving(0, 2) as sockets:
                port = sockets[0].getsockname()[1]
                stack.enter_context(lingering(sockets))
        [first, *_] = stack.enter_context(serving(port, workers, listening=listening))
        with pytest.raises(ports.StartError, match=r"in use; choose another with --http-port"):
            stack.enter_context(serving(first.getsockname()[1], other))


def test_a_port_that_workers_leave_soon_is_waited_for() -> None:
    """Their parent was killed, and they are about to notice."""
    loop = asyncio.new_event_loop()
    with ExitStack() as stack:
        [worker, _] = stack.enter_context(serving(0, 2))
        loop.call_later(0.2, stack.close)
        waiting = loop.run_in_executor(None, ports.own, HOST, worker.getsockname()[1], "--http-port")
        loop.run_until_complete(waiting).close()
    loop.close()


def test_a_port_that_a_stranger_has_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PATIENCE", 60.0)
    with socket.create_server((HOST, 0)) as taken:
        began = time.monotonic()
        with pytest.raises(ports.StartError, match="in use; choose another with --http-port"):
            ports.own(HOST, taken.getsockname()[1], "--http-port")
    assert time.monotonic() - began < 30


async def test_who_has_begun_to_connect_is_accepted_before_a_listener_closes() -> None:
    """And who has not hears nothing: a refusal, once the listener is closed, never a reset."""
    with serving(0, 1) as [listener]:
        address = listener.getsockname()
        queued = [await asyncio.open_connection(*address) for _ in range(50)]

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0)
            writer.write(await reader.read(4))
            writer.close()

        server = await asyncio.start_server(answer, sock=listener)
        emptying = asyncio.create_task(ports.empty_backlogs((listener,)))
        await asyncio.sleep(0)
        late = asyncio.create_task(asyncio.open_connection(*address))
        await emptying
        assert not late.done()
        server.close()
        for reader, writer in queued:
            writer.write(b"here")
            assert await reader.read() == b"here"
            writer.close()
        with pytest.raises(ConnectionRefusedError):
            await late
