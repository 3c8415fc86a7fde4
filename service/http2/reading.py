"""Bytes as they arrive -> whole frames."""

from collections.abc import Iterator

from service.http2 import frames
from service.http2.frames import ErrorCode, Kind, ProtocolError

HEADER_BYTES = 2**16
_CONTINUATIONS = 64  # of one header block, which may all be empty

Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream, payload; HEADERS are one frame with the whole block and nothing but it."""


class Reader:
    """Keeps what is not whole yet: a frame, or a header block, of at most `header_bytes`, that is to be continued."""

    def __init__(self, header_bytes: int = HEADER_BYTES) -> None:
        self._header_bytes = header_bytes
        self._rest = b""
        self._block: tuple[int, int, list[bytes]] | None = None  # stream, flags, so far

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Raises ProtocolError, after which it is of no more use."""
        data = self._rest + data if self._rest else data
        position, end, head = 0, len(data), frames.HEAD
        while end - position >= head.size:
            high, low, kind, flags, number = head.unpack_from(data, position)
            stop = position + head.size + (high << 8 | low)
            if stop - position > frames.LARGEST_FRAME + head.size:
                raise ProtocolError("a frame larger than we allow", ErrorCode.FRAME_SIZE_ERROR)
            if stop > end:
                break
            payload = data[position + head.size : stop]
            position = stop
            if kind in (Kind.HEADERS, Kind.CONTINUATION) or self._block is not None:
                yield from self._headers(kind, flags, number & frames.LAST_STREAM, payload)
            else:
                yield kind, flags, number & frames.LAST_STREAM, payload
        self._rest = data[position:]

    def _headers(self, kind: int, flags: int, number: int, payload: bytes) -> Iterator[Frame]:
        if self._block is None:
            if kind == Kind.CONTINUATION:
                raise ProtocolError("a CONTINUATION of nothing")
            first, block = flags, [frames.unpadded(flags, payload)]
        elif kind != Kind.CONTINUATION or self._block[0] != number:
            raise ProtocolError("a header block was interrupted")
        else:
            _, first, block = self._block
            block.append(payload)
        if sum(map(len, block)) > self._header_bytes or len(block) > _CONTINUATIONS:
            raise ProtocolError("headers without end", ErrorCode.ENHANCE_YOUR_CALM)
        self._block = None if flags & frames.END_HEADERS else (number, first, block)
        if self._block is None:
            yield Kind.HEADERS, first, number, block[0] if len(block) == 1 else b"".join(block)
