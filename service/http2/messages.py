"""gRPC's messages in an HTTP/2 body: each has a prefix of five bytes, a flag and its length."""

import struct

from service.http2.frames import ProtocolError

PREFIX = struct.Struct(">BI")


def message(payload: bytes) -> bytes:
    """One message, not compressed, with its prefix."""
    return PREFIX.pack(0, len(payload)) + payload


def read_message(data: bytes) -> bytes:
    """The one message of a unary answer. Raises ProtocolError where there is none, or more, or it is compressed."""
    if len(data) < PREFIX.size:
        raise ProtocolError("the answer has no message")
    compressed, size = PREFIX.unpack_from(data)
    if compressed or size != len(data) - PREFIX.size:
        raise ProtocolError("the answer is not one plain gRPC message")
    return data[PREFIX.size :]
