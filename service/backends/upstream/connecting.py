"""Opens connections: TCP or a UNIX socket, TLS or none, and a kernel that notices when the peer is gone."""

import asyncio
import socket
import ssl

from service.backends.upstream.connection import Connection

_GONE_AFTER = 20  # seconds of silence from a peer's kernel until it counts as gone


async def connect(
    address: tuple[str, int] | str, authority: str, tls: ssl.SSLContext | None, host: str | None
) -> Connection:
    """To (host, port) or a socket's path. `host` is whom a certificate must name. Raises OSError (TLS's errors too)."""
    loop = asyncio.get_running_loop()
    connection = Connection("https" if tls else "http", authority)
    name = host if tls else None
    if isinstance(address, str):
        await loop.create_unix_connection(lambda: connection, address, ssl=tls, server_hostname=name)
        return connection
    transport, _ = await loop.create_connection(lambda: connection, *address, ssl=tls, server_hostname=name)
    sock = transport.get_extra_info("socket")
    for level, option, value in (
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _GONE_AFTER // 2),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _GONE_AFTER // 4),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 2),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _GONE_AFTER * 1000),
    ):
        if hasattr(socket, option):  # some are Linux's own
            sock.setsockopt(level, getattr(socket, option), value)
    return connection
