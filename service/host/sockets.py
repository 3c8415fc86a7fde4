"""Ports: bound by this process alone or by its workers together, and closed without a reset to any client."""

import asyncio
import ctypes
import errno
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

BACKLOG = 2048  # connections that may wait to be accepted
_PATIENCE, _PAUSE = 2.0, 0.05  # seconds for workers whose parent was killed to leave its port, and between looks
_HANDSHAKE = 0.2  # seconds: round trips of clients that have begun to connect
_QUEUE_PATIENCE, _QUEUE_PAUSE = 5.0, 0.01  # seconds until the last of them is accepted, and between looks
_QUEUED = struct.Struct("24xI")  # tcp_info's tcpi_unacked: of a listening socket, the connections in its queue
_SO_ATTACH_FILTER = 26
# A socket filter, which sees segments from their TCP header on: those with SYN and without ACK are dropped.
_DROP_NEW = struct.pack(
    "HBBI" * 5, *(0x30, 0, 0, 13), *(0x54, 0, 0, 0x12), *(0x15, 1, 0, 0x02), *(6, 0, 0, 2**32 - 1), *(6, 0, 0, 0)
)


class StartError(Exception):
    """Why the service cannot start, in one line."""


def own(host: str, port: int, flag: str) -> socket.socket:
    """A socket that is bound and does not listen; no other process can bind the port. 0 takes a free port. Raises
    StartError, naming `flag`, where another process keeps the port.

    SO_REUSEADDR allows lingering connections of an earlier process. Until `listen` it would also let in any process
    that sets it too, so it is off again until then.
    """
    sock = _socket(host)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _bind(sock, host, port, flag, _PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return sock


def listen(sock: socket.socket) -> None:
    """Listens on a socket from `own` or `borrow`. Connections inherit SO_REUSEADDR, so that lingering ones do not keep
    the next process from the port. Raises StartError.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        raise StartError(f"cannot listen on {address(*sock.getsockname()[:2])}: {error.strerror}") from error


def lend(sock: socket.socket) -> None:
    """Lets workers `borrow` the port of a socket from `own`, and no other process.

    The order matters: a bind without SO_REUSEPORT fails where any process has the port, whatever its options; set
    afterwards, SO_REUSEPORT lets in only processes of this user that set it too.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def borrow(host: str, port: int, flag: str) -> socket.socket:
    """A socket beside those of the other workers: once they listen, the kernel spreads new connections over them."""
    sock = _socket(host)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for lingering connections
    _bind(sock, host, port, flag)
    return sock


async def empty_backlogs(listeners: Iterable[socket.socket]) -> None:
    """Returns once the listeners, whose servers go on accepting, can be closed without a reset to any client.

    A listener that closes resets the connections in its queue, and those whose handshake is under way. On Linux, a
    client that connects from now on gets no answer; it tries again after a second and is refused then.
    """
    listeners = tuple(listeners)
    for sock in listeners:
        _ignore_new(sock)
    await asyncio.sleep(_HANDSHAKE)
    deadline = time.monotonic() + _QUEUE_PATIENCE
    while any(map(_queued, listeners)) and time.monotonic() < deadline:
        await asyncio.sleep(_QUEUE_PAUSE)


@contextmanager
def listeners_on(port: int) -> Iterator[list[socket.socket]]:
    """Duplicates of this process's listening sockets on a TCP port: grpcio does not expose its own."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.socket(fileno=os.dup(connection.fd)))
            for connection in psutil.Process().net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        ]


def make_room(connections: int) -> None:
    """Raises this process's limit of open files for `connections` on each edge, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + 256
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def address_of(sock: socket.socket) -> str:
    host, port, *_ = sock.getsockname()
    return address(host, port)


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)


def _bind(sock: socket.socket, host: str, port: int, flag: str, patience: float = 0.0) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            sock.bind((host, port))
            return
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline and _is_lent(host, port):
                time.sleep(_PAUSE)
                continue
            sock.close()
            what = f"another with {flag}" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "another --host"
            raise StartError(f"cannot use {address(host, port)}: {error.strerror}; choose {what}") from error


def _is_lent(host: str, port: int) -> bool:
    """Whether those that have a port let others of this user in, as workers do; any other process keeps it."""
    with _socket(host) as sock, suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        return True
    return False


def _ignore_new(sock: socket.socket) -> None:
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(_DROP_NEW)
        with suppress(OSError):  # sandboxes that have none
            where = struct.pack("HP", len(_DROP_NEW) // 8, ctypes.addressof(program))
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)


def _queued(sock: socket.socket) -> int:
    if sys.platform != "linux" or sock.fileno() < 0:
        return 0
    (queued,) = _QUEUED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUED.size))
    return int(queued)
