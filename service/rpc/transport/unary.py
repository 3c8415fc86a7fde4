"""A call of one message and one reply."""

import asyncio

import grpc

from service.http2 import messages
from service.rpc.transport import incoming
from service.rpc.transport.context import Context
from service.rpc.transport.incoming import Incoming, Message
from service.rpc.transport.status import Refused


class UnaryCall(Context):
    """Its handler runs once the request is whole."""

    _message: Message | None = None
    _incoming: Incoming | None = None

    def on_data(self, payload: bytes) -> None:
        try:
            if self._incoming is None:
                self._incoming = Incoming(self._rules.message_bytes)
            self._incoming.add(payload)
            if self._message is None:
                self._message = self._incoming.next()
            if self._message is not None and self._incoming:
                raise Refused(grpc.StatusCode.INTERNAL, "a unary call has one message, and more was sent")
        except Refused as refused:
            self.end(refused.code, refused.details)

    def on_end(self) -> None:
        if self._message is None:
            self.end(grpc.StatusCode.INTERNAL, "the call ended before its message was there")
        else:
            self._start(self._run(self._message))
            self._message = self._incoming = None

    def on_late(self) -> None:
        seconds = self._rules.body_seconds
        self.end(grpc.StatusCode.DEADLINE_EXCEEDED, f"the message did not arrive within {seconds:g} s")

    async def _run(self, message: Message) -> None:
        steps, received, reply = self._rules.steps, 0, b""
        steps.began(self)
        try:
            data = await incoming.plain(message, self.head.coding, self._rules.message_bytes)
            received = len(data)
            reply = self.method.serialize(await self.method.behaviour(self._parsed(data), self))
            self._answer(messages.message(reply))
        except asyncio.CancelledError:
            self._code = self._code or grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            self._fail(error)
            self._answer()
        finally:  # nobody waits for the account
            steps.ended(self, received, len(reply))
