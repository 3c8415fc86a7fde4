"""Whose port it is: ours alone, or that of our own workers and nobody else."""

import errno
import resource
import socket


class StartError(Exception):
    """Why the service cannot start, in one line."""


def own(host: str, port: int, flag: str) -> socket.socket:
    """A bound, silent socket; 0 takes any free port. Raises StartError, naming `flag`, where the port is somebody's."""
    sock = _socket(host)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a process before us may linger
    _bind(sock, host, port, flag)
    return sock


def lend(sock: socket.socket) -> None:
    """From now on our workers may `borrow` the port of a socket from `own`, while nobody else gets it.

    The order is the trick: binding without SO_REUSEPORT fails where anybody has the port, whatever their options;
    SO_REUSEPORT set afterwards lets others of this user in who set it too, and without SO_REUSEADDR nobody else.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def borrow(host: str, port: int, flag: str) -> socket.socket:
    """A socket beside those of the other workers: once they listen, the kernel spreads new connections over them."""
    sock = _socket(host)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(sock, host, port, flag)
    return sock


def make_room(connections: int) -> None:
    """Raises this process's limit of open files for so many connections on each edge, as far as it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + 256
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)


def _bind(sock: socket.socket, host: str, port: int, flag: str) -> None:
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        what = f"another with {flag}" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "another --host"
        raise StartError(f"cannot use {address(host, port)}: {error.strerror}; choose {what}") from error
