"""When a response's parts go out, over a real pair of sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from service.api.http.response_writer import ResponseWriter

HEAD, BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", b"body"

Ends = tuple[ResponseWriter, socket.socket]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """What is written to the first can be received from the second as soon as it was sent."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _, writer = await asyncio.open_connection(sock=ours)
    yield ResponseWriter(writer.transport, asyncio.get_running_loop()), theirs
    writer.close()
    theirs.close()


async def test_a_head_goes_with_the_first_of_its_body(ends: Ends) -> None:
    transport, client = ends
    transport.write(HEAD)
    with pytest.raises(BlockingIOError):
        client.recv(1000)
    transport.write(BODY)
    assert client.recv(1000) == HEAD + BODY
    transport.write(BODY)
    assert client.recv(1000) == BODY
    await asyncio.sleep(0.01)
    with pytest.raises(BlockingIOError):  # nothing twice
        client.recv(1000)


async def test_a_head_does_not_wait_for_a_body_that_is_not_there(ends: Ends) -> None:
    transport, client = ends
    transport.write(HEAD)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.recv(1000) == HEAD
    transport.write(BODY)
    assert client.recv(1000) == BODY


async def test_what_closes_sends_its_head_first(ends: Ends) -> None:
    transport, client = ends
    transport.write(HEAD)
    transport.close()
    assert transport.is_closing() and client.recv(1000) == HEAD
    await asyncio.sleep(0.01)
    assert client.recv(1000) == b""
