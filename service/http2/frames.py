"""HTTP/2 frames and header blocks, as far as a unary gRPC call needs them (RFC 9113, RFC 7541). Bytes in, bytes out."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache

import hpack


class Kind(IntEnum):
    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

REFUSED_STREAM, CANCEL = 7, 8  # of the error codes, those that mean something to a client

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_FRAME = 2**14  # what a peer may send us: the protocol's default, which we do not raise
LARGEST_WINDOW = LAST_STREAM = 2**31 - 1
DEFAULT_WINDOW = 2**16 - 1

HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_MESSAGE = struct.Struct(">BI")
_UINT32 = struct.Struct(">I")


class ProtocolError(Exception):
    """The peer does not speak HTTP/2 as we understand it: the connection is of no more use."""


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def settings(values: Mapping[Setting, int]) -> bytes:
    return frame(Kind.SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    if len(payload) % _SETTING.size:
        raise ProtocolError("a SETTINGS frame of an odd length")
    return _SETTING.iter_unpack(payload)


def uint32(payload: bytes, position: int = 0) -> int:
    """Raises ProtocolError where the frame is too short to hold it."""
    if len(payload) < position + 4:
        raise ProtocolError("a frame that is too short for its kind")
    return int(_UINT32.unpack_from(payload, position)[0])


def window_update(stream: int, size: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, _UINT32.pack(size))


def reset(stream: int, code: int) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, _UINT32.pack(code))


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without padding, and without the priority that HEADERS may have."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ProtocolError("a padded frame without its length")
        start, end = 1, end - payload[0]
    if flags & PRIORITY:
        start += 5
    if start > end:
        raise ProtocolError("more padding than frame")
    return payload[start:end]


def message(payload: bytes) -> bytes:
    """One gRPC message with its prefix."""
    return _MESSAGE.pack(0, len(payload)) + payload


def read_message(data: bytes) -> bytes:
    """The one message of a unary answer. Raises ProtocolError where there is none, or more, or it is compressed."""
    if len(data) < _MESSAGE.size:
        raise ProtocolError("the answer has no message")
    compressed, size = _MESSAGE.unpack_from(data)
    if compressed or size != len(data) - _MESSAGE.size:
        raise ProtocolError("the answer is not one plain gRPC message")
    return data[_MESSAGE.size :]


def header_block(headers: Sequence[tuple[str, str]]) -> bytes:
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


@lru_cache(maxsize=256)
def read_header_block(block: bytes) -> Mapping[str, str]:
    """We tell peers to keep no table of headers, so that equal blocks mean equal headers. Raises ProtocolError."""
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    try:
        return {str(name): str(value) for name, value in decoder.decode(block)}
    except hpack.HPACKError as error:
        raise ProtocolError(f"headers that cannot be read ({error})") from error
