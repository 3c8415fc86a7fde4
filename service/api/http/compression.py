"""Compressed bodies: of requests, inflated piece by piece and never past the limit; and of the large pages."""

import asyncio
import re
import zlib
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.http.request import find_path
from service.errors import InvalidInput, TooLarge, UnsupportedEncoding

_PIECE = 2**18  # bytes handed on at once: some 1 ms of inflating, after which it is the others' turn
_MEMBERS = 1024  # gzip streams one after another in one body; writers in blocks of 64 KiB need 16 a MiB
_GZIP = ("gzip", "x-gzip")
_PAGES = frozenset({"/metrics", "/monitoring/prometheus/metrics", "/openapi.json"})
_NO_GZIP = re.compile(r"gzip\s*;\s*q\s*=\s*0(\.0*)?\s*(,|$)")
_SPENT = (b"content-encoding", b"content-length")


class Decompression:
    """Pure ASGI. Routes see a plain body, without Content-Encoding and of no declared length."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app, self._limit = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (encodings := _encodings(scope)):
            receive = _Inflating(receive, encodings, self._limit)
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in _SPENT]
        await self._app(scope, receive, send)


class CompressedPages:
    """Pure ASGI. Answers with gzip, where the client takes it, the text that is many times its compressed size."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._gzip = app, GZipMiddleware(app, minimum_size=1000, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and find_path(scope) in _PAGES
        refused = is_page and _NO_GZIP.search(Headers(scope=scope).get("accept-encoding", ""))
        await (self._gzip if is_page and not refused else self._app)(scope, receive, send)


def _encodings(scope: Scope) -> list[str]:
    given = ",".join(Headers(scope=scope).getlist("content-encoding"))
    names = [name.strip().lower() for name in given.split(",")] if given else []
    return [name for name in names if name not in ("", "identity")]


class _Inflating:
    """A `receive` over another. What is wrong with the body is raised here, where a route reads it, so that it is
    counted and told like everything else that is wrong with a request.
    """

    def __init__(self, receive: Receive, encodings: list[str], limit: int) -> None:
        self._receive, self._encodings, self._limit = receive, encodings, limit
        self._stream: zlib._Decompress | None = None
        self._input = b""
        self._last = self._full = False  # the input is all there; the output was cut at a piece
        self._members = self._inflated = 0

    async def __call__(self) -> Message:
        if self._encodings not in (["gzip"], ["x-gzip"], ["deflate"]):
            named = ", ".join(self._encodings)
            raise UnsupportedEncoding(f"Content-Encoding {named!r:.70} is not read here; send gzip, deflate or none")
        while True:
            if self._input or self._full:
                await asyncio.sleep(0)
            elif self._last:
                return await self._receive()  # nothing but the disconnect is left
            if not self._full and not (await self._fill()):
                return {"type": "http.disconnect"}
            piece = self._inflate()
            whole = self._last and not self._input and not self._full
            if whole and self._stream is not None and not self._stream.eof:
                raise InvalidInput(f"the {self._encodings[0]} body breaks off; send all of it")
            if piece or whole:
                return {"type": "http.request", "body": piece, "more_body": not whole}

    async def _fill(self) -> bool:
        """Waits until there is input to look at, or none will come. False where the client went away."""
        while not self._last and len(self._input) < 2:  # two bytes tell what kind of deflate it is
            message: dict[str, Any] = dict(await self._receive())
            if message["type"] != "http.request":
                return False
            self._input += message.get("body", b"")
            self._last = not message.get("more_body", False)
        return True

    def _inflate(self) -> bytes:
        if not self._input and not self._full:
            return b""
        try:
            if self._stream is None or self._stream.eof:
                self._stream = self._next()
            piece = self._stream.decompress(self._input, _PIECE)
        except zlib.error as error:
            raise InvalidInput(f"the body is not valid {self._encodings[0]}: {error}") from error
        self._input = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        self._full = len(piece) == _PIECE and not self._stream.eof
        self._inflated += len(piece)
        if self._inflated > self._limit:
            raise TooLarge(
                f"the body is larger than {self._limit:,} bytes once unpacked; send fewer or smaller images",
                max_body_bytes=self._limit,
            )
        return piece

    def _next(self) -> "zlib._Decompress":
        self._members += 1
        gzip = self._encodings[0] in _GZIP
        if self._members > (_MEMBERS if gzip else 1):
            raise InvalidInput(f"the {self._encodings[0]} body goes on after its end")
        if gzip:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        # Some clients send "deflate" without the zlib header that the standard asks for.
        wrapped = len(self._input) > 1 and self._input[0] & 15 == 8 and not int.from_bytes(self._input[:2]) % 31
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
