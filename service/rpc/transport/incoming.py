"""DATA as they arrive -> whole messages, none larger than allowed, compressed or not."""

import asyncio
import zlib
from typing import NamedTuple

import grpc

from service.http2.messages import PREFIX
from service.rpc.transport.status import Refused

_PIECE = 2**18  # bytes inflated at once: some 1 ms, after which it is the others' turn
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class Message(NamedTuple):
    compressed: bool
    data: bytes


class Incoming:
    """The messages of one call, of at most `limit` bytes each. What is there of them is kept in one piece."""

    __slots__ = ("_kept", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: bytes | bytearray = b""

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, payload: bytes) -> None:
        if not self._kept:
            self._kept = payload  # nearly always all of it
            return
        if not isinstance(self._kept, bytearray):
            self._kept = bytearray(self._kept)
        self._kept += payload

    def next(self) -> Message | None:
        """None while it is not whole. Raises Refused, as soon as it begins in a way that will not do."""
        kept = self._kept
        if len(kept) < PREFIX.size:
            return None
        flag, size = PREFIX.unpack_from(kept)
        end = PREFIX.size + size
        if flag > 1:
            raise Refused(grpc.StatusCode.INTERNAL, "a message whose first byte is neither 0 nor 1")
        if size > self._limit:
            says = f"the message is larger than max ({size} vs. {self._limit})"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, says)
        if len(kept) < end:
            return None
        data = bytes(memoryview(kept)[PREFIX.size : end])
        if len(kept) == end:
            self._kept = b""
        else:
            self._kept = bytearray(kept) if isinstance(kept, bytes) else kept
            del self._kept[:end]
        return Message(bool(flag), data)


async def plain(message: Message, coding: str, limit: int) -> bytes:
    """A message as it was before it was compressed. Raises Refused."""
    if not message.compressed:
        return message.data
    if coding not in _WINDOW_BITS:
        code = grpc.StatusCode.INTERNAL if coding == "identity" else grpc.StatusCode.UNIMPLEMENTED
        raise Refused(code, f"messages compressed with {coding!r:.70} are not read here; gzip and deflate are")
    stream, rest, pieces, size = zlib.decompressobj(_WINDOW_BITS[coding]), message.data, list[bytes](), 0
    while not stream.eof:
        try:
            piece = stream.decompress(rest, _PIECE)
        except zlib.error as error:
            raise Refused(grpc.StatusCode.INTERNAL, f"the message is no {coding}: {error}") from error
        rest, size = stream.unconsumed_tail, size + len(piece)
        if size > limit:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"once unpacked the message is larger than max ({limit})")
        if not piece and not rest and not stream.eof:
            raise Refused(grpc.StatusCode.INTERNAL, f"the message breaks off within its {coding}")
        pieces.append(piece)
        if len(piece) == _PIECE:
            await asyncio.sleep(0)
    return b"".join(pieces)
