"""Messages of a stream: how many are answered at a time, in which order the answers leave, and how it all ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.api.grpc import stream


class Sender:
    """A client's messages, which end once it has sent them all."""

    def __init__(self, *messages: bytes) -> None:
        self._messages = messages
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for message in self._messages:
            self.read += 1
            yield message


async def test_answers_keep_the_order_in_which_their_messages_came() -> None:
    first, written = asyncio.Event(), []

    async def answer(data: bytes) -> bytes:
        if data == b"slow":
            await first.wait()
        else:
            first.set()
        return data.upper()

    async def write(data: bytes) -> None:
        written.append(data)

    async with asyncio.timeout(10):
        await stream.answer_in_order(aiter(Sender(b"slow", b"quick")), answer, write)
    assert written == [b"SLOW", b"QUICK"]


async def test_a_client_that_takes_no_answers_is_read_no_further() -> None:
    sender = Sender(*[b"x"] * 100)
    stuck = asyncio.Event()

    async def answer(data: bytes) -> bytes:
        return data

    async def write(data: bytes) -> None:
        stuck.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stream.answer_in_order(aiter(sender), answer, write))
    await asyncio.wait_for(stuck.wait(), 10)
    for _ in range(50):  # turns of the event loop in which it could read on
        await asyncio.sleep(0)
    assert sender.read <= stream._MOST + 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stream_that_ends_leaves_no_answer_behind() -> None:
    ended: list[bytes] = []
    begun = asyncio.Event()

    async def answer(data: bytes) -> bytes:
        if data == b"bad":
            await begun.wait()
            raise ValueError(data)
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.append(data)
        return data

    async def write(data: bytes) -> None:
        raise AssertionError("nothing is answered")

    with pytest.raises(ValueError, match="bad"):
        async with asyncio.timeout(10):
            await stream.answer_in_order(aiter(Sender(b"bad", b"a", b"b")), answer, write)
    assert sorted(ended) == [b"a", b"b"]
