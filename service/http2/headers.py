"""Header blocks (HPACK, RFC 7541), written and read so that equal bytes mean equal headers and can be kept."""

from collections.abc import Sequence
from functools import lru_cache

import hpack

from service.http2.frames import ErrorCode, ProtocolError

Headers = tuple[tuple[str, str], ...]

_CACHED = 2**11  # bytes: larger blocks are rare, and would let a client fill our memory
_ENTRY = 32  # bytes that a header counts beside its name and value
_SLACK = 4  # times the limit: what is read of a list that is too large, to go on reading after it


def block(headers: Sequence[tuple[str, str]]) -> bytes:
    """Literals without indexing: such a block means the same whenever it is sent, so that it can be kept."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers)


def _string(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, size = len(data) - 127, bytearray([127])
    while rest >= 128:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    size.append(rest)
    return bytes(size) + data


def read(data: bytes, limit: int) -> Headers | None:
    """A block from a peer that keeps no table; None where its headers have more than `limit` bytes, as HTTP/2 counts
    them. Raises ProtocolError.
    """
    return _read_kept(data, limit) if len(data) <= _CACHED else _read(data, limit)


def _read(data: bytes, limit: int) -> Headers | None:
    decoder = hpack.Decoder(limit)
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    return _decode(decoder, data)


_read_kept = lru_cache(maxsize=256)(_read)


def _decode(decoder: hpack.Decoder, data: bytes) -> Headers | None:
    try:
        return tuple((str(name), str(value)) for name, value in decoder.decode(data))
    except hpack.OversizedHeaderListError:
        return None
    except hpack.HPACKError as error:
        raise ProtocolError(f"headers that cannot be read ({error})", ErrorCode.COMPRESSION_ERROR) from error


class HeaderReader:
    """The blocks of one peer that was told to keep no table. Until it has read that it may keep one: it has none once
    it said so, by a table size of 0, after it acknowledged our settings.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._decoder: hpack.Decoder | None = hpack.Decoder(_SLACK * limit)
        self.acknowledged = False

    def read(self, data: bytes) -> Headers | None:
        """None where they are larger than the limit. Raises ProtocolError."""
        if (decoder := self._decoder) is None:
            return read(data, self._limit)
        headers = _decode(decoder, data)
        if headers is None:
            raise ProtocolError("headers without end", ErrorCode.ENHANCE_YOUR_CALM)  # a table that nobody can follow
        if self.acknowledged and decoder.header_table_size == 0:
            self._decoder = None
        return headers if sum(len(name) + len(value) + _ENTRY for name, value in headers) <= self._limit else None
