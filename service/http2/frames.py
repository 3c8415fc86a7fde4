"""HTTP/2 frames, as far as gRPC needs them (RFC 9113). Bytes in, bytes out."""

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum


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
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_FRAME = 2**14  # what a peer may send us: the protocol's default, which we do not raise
LARGEST_WINDOW = LAST_STREAM = 2**31 - 1
DEFAULT_WINDOW = 2**16 - 1

HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_UINT32 = struct.Struct(">I")


class ProtocolError(Exception):
    """The peer does not speak HTTP/2 as we understand it: the connection is of no more use."""

    def __init__(self, reason: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def headers(flags: int, stream: int, block: bytes) -> bytes:
    """As many frames as it takes."""
    if len(block) <= LARGEST_FRAME:
        return frame(Kind.HEADERS, flags | END_HEADERS, stream, block)
    *firsts, last = (block[start : start + LARGEST_FRAME] for start in range(0, len(block), LARGEST_FRAME))
    begun = frame(Kind.HEADERS, flags, stream, firsts[0])
    going_on = (frame(Kind.CONTINUATION, 0, stream, piece) for piece in firsts[1:])
    return b"".join((begun, *going_on, frame(Kind.CONTINUATION, END_HEADERS, stream, last)))


def settings(values: Mapping[Setting, int]) -> bytes:
    return frame(Kind.SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    if len(payload) % _SETTING.size:
        raise ProtocolError("a SETTINGS frame of an odd length", ErrorCode.FRAME_SIZE_ERROR)
    return _SETTING.iter_unpack(payload)


def uint32(payload: bytes, position: int = 0) -> int:
    """Raises ProtocolError where the frame is too short to hold it."""
    if len(payload) < position + 4:
        raise ProtocolError("a frame that is too short for its kind", ErrorCode.FRAME_SIZE_ERROR)
    return int(_UINT32.unpack_from(payload, position)[0])


def window_update(stream: int, size: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, _UINT32.pack(size))


def reset(stream: int, code: ErrorCode) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, _UINT32.pack(code))


def goaway(last: int, code: ErrorCode, reason: str = "") -> bytes:
    """`last` is the last stream that is answered."""
    return frame(Kind.GOAWAY, 0, 0, _UINT32.pack(last) + _UINT32.pack(code) + reason.encode())


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without padding, and without the priority that HEADERS may have."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ProtocolError("a padded frame without its length", ErrorCode.FRAME_SIZE_ERROR)
        start, end = 1, end - payload[0]
    if flags & PRIORITY:
        start += 5
    if start > end:
        raise ProtocolError("more padding than frame")
    return payload[start:end]
