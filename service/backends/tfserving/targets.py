"""`--target` and the addresses that it stands for, which DNS may change at any time."""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\[\]:/\s]+)):(?P<port>\d{1,5})")
_UNIX = "unix:"

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port -> IP addresses. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Address:
    """A place to connect to: `where` is (IP, port) or a socket's path; `host` is the name that resolved to it."""

    where: tuple[str, int] | str
    host: str
    authority: str

    @property
    def uri(self) -> str:
        """gRPC's name for the address, with nothing to look up."""
        if isinstance(self.where, str):
            return str(self)
        return f"{'ipv6' if ':' in self.where[0] else 'ipv4'}:{self}"

    def __str__(self) -> str:
        if isinstance(self.where, str):
            return f"{_UNIX}{self.where}"
        host, port = self.where
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of `--target`: a name or IP with a port, or the path of a UNIX socket with port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return f"{_UNIX}{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def find_addresses(self, resolve: Resolve) -> list[Address]:
        """The addresses now. Raises OSError where the name does not resolve."""
        if not self.port:
            return [Address(self.host, "localhost", "localhost")]
        hosts = [self.host] if _is_ip(self.host) else await resolve(self.host, self.port)
        return [Address((host, self.port), self.host, str(self)) for host in hosts]


def parse(text: str) -> tuple[Target, ...]:
    """Parses `a:8500,[::1]:8500,unix:/run/tf.sock`. Raises ValueError, naming the entry that is wrong."""
    found: dict[Target, None] = {}
    for entry in (each.strip() for each in text.split(",")):
        if entry.startswith(_UNIX):
            path = entry.removeprefix(_UNIX).removeprefix("//")
            if not path.startswith("/"):
                raise ValueError(f"{entry!r}: expected an absolute path, such as unix:/run/tf.sock")
            found[Target(path, 0)] = None
            continue
        match = _HOST_PORT.fullmatch(entry)
        if match is None or not 0 < int(match["port"]) < 2**16:
            raise ValueError(f"{entry!r}: expected host:port, [IPv6]:port or unix:/path")
        found[Target(match["v6"] or match["host"], int(match["port"]))] = None
    return tuple(found)


async def resolve(host: str, port: int) -> list[str]:
    """IP addresses by the system's resolver: IPv4 if there is any, or a server on both would count as two."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    by_family: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        by_family.setdefault(family, []).append(str(address[0]))
    chosen = by_family.get(socket.AF_INET) or by_family.get(socket.AF_INET6) or []
    return list(dict.fromkeys(chosen))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
