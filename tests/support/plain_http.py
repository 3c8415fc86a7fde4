"""A client that sends bytes as they are and reads one answer: it costs little and hides nothing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes


class Connection:
    """One keep-alive connection, opened where there is none. `again` asks once more where the server has closed it
    since the last answer; without it that is an error, like every connection that is lost.
    """

    def __init__(self, host: str, port: int, again: bool = False) -> None:
        self._host, self._port, self._again = host, port, again
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Raises OSError or EOFError where no whole answer comes."""
        given_up = self._streams is None or not self._again
        try:
            return await self._post(path, body, headers)
        except (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError):
            if given_up:
                raise
        return await self._post(path, body, headers)  # the server closed it while it was idle

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\nhost: fuzz\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
        try:
            writer.write(head.encode("latin-1") + body)
            return await self._reply(reader)
        except BaseException:
            self.close()
            raise

    async def _reply(self, reader: asyncio.StreamReader) -> Reply:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if b"content-length" in fields:
            body = await reader.readexactly(int(fields[b"content-length"]))
        else:
            body = await reader.read()
        if fields.get(b"connection") == b"close" or b"content-length" not in fields:
            self.close()
        return Reply(status, body)
