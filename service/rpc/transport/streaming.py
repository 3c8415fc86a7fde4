"""A call with streams of messages, to its handler or from it."""

import asyncio
from contextvars import Context as Variables
from typing import Any

import grpc

from service.http2 import messages
from service.http2.messages import PREFIX
from service.http2.streams import Stream
from service.rpc.transport import incoming
from service.rpc.transport.context import Context, Rules
from service.rpc.transport.heads import Head
from service.rpc.transport.incoming import Incoming
from service.rpc.transport.methods import Method
from service.rpc.transport.status import Refused


class StreamCall(Context):
    """Its handler runs from the start. It is the iterator of requests too; what is not read yet fills a window."""

    def __init__(self, stream: Stream, head: Head, method: Method, rules: Rules, variables: Variables) -> None:
        super().__init__(stream, head, method, rules, variables)
        self._incoming = Incoming(rules.message_bytes)
        self._more = asyncio.Event()
        self._ended = False
        self._start(self._run())

    def on_data(self, payload: bytes) -> None:
        self._incoming.add(payload)
        self._more.set()

    def on_end(self) -> None:
        self._ended = True
        self._more.set()

    def on_late(self) -> None:
        """It may be as long as it likes."""

    def __aiter__(self) -> "StreamCall":
        return self

    async def __anext__(self) -> Any:
        """Raises Refused."""
        await asyncio.sleep(0)  # others have their turn, however many messages are here
        while (message := self._incoming.next()) is None:
            if self._ended:
                if self._incoming:
                    raise Refused(grpc.StatusCode.INTERNAL, "the requests ended within a message")
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        self._stream.refill(PREFIX.size + len(message.data))
        return self._parsed(await incoming.plain(message, self.head.coding, self._rules.message_bytes))

    async def write(self, reply: Any) -> None:
        """Returns once it is on its way, as far as the client makes room."""
        self._stream.send(self._first(), messages.message(self.method.serialize(reply)))
        await self._stream.flush()

    async def _run(self) -> None:
        try:
            asked = self if self.method.requests_stream else await self._only()
            replies = self.method.behaviour(asked, self)
            if hasattr(replies, "__aiter__"):
                async for reply in replies:
                    await self.write(reply)
            elif (reply := await replies) is not None:
                await self.write(reply)
        except Exception as error:
            self._fail(error)
        self._answer()

    async def _only(self) -> Any:
        async for message in self:
            return message
        raise Refused(grpc.StatusCode.INTERNAL, "the call ended before its message was there")
