"""The path prefix that a proxy in front puts this service below: links and redirects lead back through it."""

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_HEADER = b"x-forwarded-prefix"
_OWN_PATHS = (
    "v1|v2|predict|embed|similar|models|page|routes|healthz|readyz|metrics|monitoring|docs|openapi.json|"
    "static-offline-docs"
)
_PATH_PREFIX = re.compile(rf"(?!/(?:{_OWN_PATHS})(?:/|$))(?:/[A-Za-z0-9._~-]+)+")
_OWN_ADDRESS = re.compile(rb"https?://[^/]*(?=/)")


def is_path_prefix(text: str) -> bool:
    """True for paths such as "/vision" below which a proxy may have this service: not one that it has itself."""
    return _PATH_PREFIX.fullmatch(text) is not None


class PathPrefix:
    """Pure ASGI. The prefix is what a proxy of `trusted` networks says in X-Forwarded-Prefix, else `root_path`.

    A proxy may strip the prefix from paths or leave it there: routes see paths without it either way. So a prefix is
    none of this service's own paths.
    """

    def __init__(self, app: ASGIApp, root_path: str, trusted: Iterable[Network]) -> None:
        self._app, self._root_path, self._trusted = app, root_path, tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (prefix := self._find_prefix(scope)):
            await self._app(scope, receive, send)
            return
        path, raw = scope["path"], scope["raw_path"]
        if path == prefix or path.startswith(prefix + "/"):
            path, raw = path[len(prefix) :] or "/", raw[len(prefix) :] or b"/"
        # ASGI has the prefix in `path`, where Starlette takes it off again; our own tables look at `raw_path`.
        scope["path"], scope["raw_path"], scope["root_path"] = prefix + path, raw, prefix
        inside = prefix.encode()

        async def send_relative(message: Message) -> None:
            """A redirect names no host: the client knows the proxy's, and this service only what the proxy says."""
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, _make_relative(value, inside) if name.lower() == b"location" else value)
                    for name, value in message["headers"]
                ]
            await send(message)

        await self._app(scope, receive, send_relative)

    def _find_prefix(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == _HEADER and self._trusts(scope):
                said = value.decode("latin-1").rstrip("/")
                return said if is_path_prefix(said) else self._root_path
        return self._root_path

    def _trusts(self, scope: Scope) -> bool:
        try:
            address = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _make_relative(location: bytes, prefix: bytes) -> bytes:
    path = _OWN_ADDRESS.sub(b"", location, count=1)
    return path if path.startswith(prefix + b"/") else prefix + path
