"""When a response's parts go out."""

import asyncio
from typing import Any

_BEGINNING = b"HTTP/1.1 "  # of every response


class ResponseWriter(asyncio.Transport):
    """Sends a response's head along with the first of its body, for uvicorn writes one after the other: one system call
    and one packet less. A head waits for no body that is not there.
    """

    def __init__(self, transport: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head: Any = None
        self._open = False
        self._begun = 0  # bytes

    def begin(self) -> None:
        """Sends one more byte of what every response begins with, ahead of it, as long as there are any: a client that
        has left answers with a reset.
        """
        if self._head is None and self._begun < len(_BEGINNING):
            self._transport.write(_BEGINNING[self._begun : self._begun + 1])
            self._begun += 1

    def write(self, data: Any) -> None:
        if self._begun and self._head is None:
            data = data[self._begun :]
        if self._open:
            self._transport.write(data)
        elif self._head is None:
            self._head = data
            self._loop.call_soon(self._go)
        else:
            self._open = True
            self._transport.writelines((self._head, data))

    def close(self) -> None:
        self._go()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _go(self) -> None:
        if self._head is not None and not self._open:
            self._open = True
            self._transport.write(self._head)
