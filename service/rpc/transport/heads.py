"""What a request's headers say of its call."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import grpc

from service.http2.headers import Headers
from service.rpc.transport import status
from service.rpc.transport.status import Refused, Value

_GRPC = re.compile(r"application/grpc($|[+;])")
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class NotGrpcError(Exception):
    """Some other use of HTTP/2."""


@dataclass(frozen=True, slots=True)
class Head:
    """`timeout` in seconds, `coding` of compressed messages; `texts` are the metadata that are no bytes, by name."""

    path: str
    timeout: float | None
    coding: str
    metadata: tuple[tuple[str, Value], ...]
    texts: Mapping[str, str]


@lru_cache(maxsize=256)
def read(headers: Headers) -> Head:
    """Raises NotGrpcError or Refused."""
    said = dict(headers)
    if said.get(":method") != "POST" or not _GRPC.match(said.get("content-type", "")):
        raise NotGrpcError
    metadata = status.decode(headers)
    texts = {name: value for name, value in metadata if isinstance(value, str)}
    coding = said.get("grpc-encoding", "identity")
    return Head(said.get(":path", ""), _timeout(said.get("grpc-timeout")), coding, metadata, texts)


def _timeout(said: str | None) -> float | None:
    if said is None:
        return None
    if (match := _TIMEOUT.fullmatch(said)) is None:
        raise Refused(grpc.StatusCode.INTERNAL, f"grpc-timeout is up to eight digits and a unit, got {said!r:.70}")
    return int(match[1]) * _SECONDS[match[2]]
