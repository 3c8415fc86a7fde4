"""A stream of questions: several messages are answered at a time, and the answers leave in the messages' order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

_MOST = 16  # messages of one stream that are answered at a time: as many are held in memory


async def answer_in_order(
    messages: AsyncIterator[bytes],
    answer: Callable[[bytes], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
) -> None:
    """Until the messages end. Raises what `answer` raises for the earliest message; those after it are given up."""
    places = asyncio.Semaphore(_MOST)
    answers: asyncio.Queue[asyncio.Future[bytes] | None] = asyncio.Queue()
    begun: set[asyncio.Future[bytes]] = set()

    async def read() -> None:
        try:
            async for data in messages:
                await places.acquire()
                answering = asyncio.ensure_future(answer(data))
                begun.add(answering)
                answers.put_nowait(answering)
        finally:
            answers.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (answering := await answers.get()) is not None:
            await write(await answering)
            begun.discard(answering)
            places.release()
        await reading
    finally:
        reading.cancel()
        for unwritten in begun:
            unwritten.cancel()
        await asyncio.gather(reading, *begun, return_exceptions=True)
