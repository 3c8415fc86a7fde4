"""How a call ends: its status and trailing metadata, as a header block."""

import binascii
from collections.abc import Sequence
from urllib.parse import quote

import grpc

from service.http2 import headers
from service.http2.headers import Headers

Value = str | bytes
Metadata = Sequence[tuple[str, Value]]
"""Names in lower case; those that end in -bin have bytes."""

_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_CODE = {code: headers.block([("grpc-status", str(code.value[0]))]) for code in grpc.StatusCode}
HEAD = headers.block(
    [(":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity,deflate,gzip")]
)
NOT_GRPC = headers.block([(":status", "415"), ("content-type", "text/plain")])


class Refused(Exception):
    """A call that ends with an error, for a reason that its client is told."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        super().__init__(details)
        self.code, self.details, self.metadata = code, details, tuple(metadata)


def trailers(code: grpc.StatusCode, details: str = "", metadata: Metadata = ()) -> bytes:
    block = _CODE[code]
    if details:
        block += headers.block([("grpc-message", quote(details, _PLAIN, errors="replace"))])
    return block + encode(metadata) if metadata else block


def encode(metadata: Metadata) -> bytes:
    return headers.block([(name, _text(value)) for name, value in metadata])


def decode(said: Headers) -> tuple[tuple[str, Value], ...]:
    """What of a request's headers is metadata. Raises Refused."""
    try:
        return tuple((name, value) for name, text in said if not _reserved(name) for value in _values(name, text))
    except ValueError as error:
        raise Refused(grpc.StatusCode.INTERNAL, "metadata whose name ends in -bin are base64") from error


def _reserved(name: str) -> bool:
    return name.startswith((":", "grpc-")) or name in ("te", "content-type")


def _values(name: str, text: str) -> Sequence[Value]:
    if not name.endswith("-bin"):
        return (text,)
    return [binascii.a2b_base64(one + "=" * (-len(one) % 4), strict_mode=True) for one in text.split(",")]


def _text(value: Value) -> str:
    return value if isinstance(value, str) else binascii.b2a_base64(value, newline=False).rstrip(b"=").decode()
