"""Who there is: one Replica an address, its connections and standing, and the set of them that follows DNS."""

import asyncio
import itertools
import logging
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from service.backends.upstream import balancing, targets
from service.backends.upstream.balancing import Standing
from service.backends.upstream.calls import CallFailed, Status
from service.backends.upstream.connecting import connect
from service.backends.upstream.connection import Connection
from service.backends.upstream.targets import Address, Resolve, Target
from service.current import Metadata

_log = logging.getLogger("service.upstreams")
_CONNECT_SECONDS = 2.0


@dataclass(slots=True)
class Tally:
    """What a replica was sent since it is known: `retries` and `hedges` are among the `attempts`."""

    attempts: int = 0
    failures: int = 0
    retries: int = 0
    hedges: int = 0


class Replica:
    """One server: up to `connections` to it, opened as they are needed."""

    def __init__(self, address: Address, connections: int, tls: ssl.SSLContext | None) -> None:
        self.address, self.name = address, str(address)
        self.standing = Standing(time.monotonic)
        self.versions: dict[str, frozenset[int]] = {}
        """Model name -> its AVAILABLE versions, as last told. Whoever asks for its status writes it."""
        self.tally = Tally()
        self._most, self._tls = connections, tls
        self._connections: list[Connection] = []
        self._opening: asyncio.Task[Connection] | None = None
        self._closed = False

    def lose(self, name: str, version: int) -> None:
        """It has just said that it does not have this version (any more)."""
        self.versions[name] = self.versions.get(name, frozenset()) - {version}

    def start(
        self, path: str, message: bytes, timeout: float | None, metadata: Metadata = ()
    ) -> "asyncio.Future[bytes]":
        """A call; the future raises CallFailed, and cancelling it cancels the call."""
        usable = [connection for connection in self._connections if connection.usable]
        if len(usable) < len(self._connections):
            self._connections = usable
        if not usable:
            return asyncio.ensure_future(self._connect_and_start(path, message, timeout, metadata))
        best = usable[0] if len(usable) == 1 else min(usable, key=lambda connection: connection.load)
        if best.load and len(usable) < self._most:
            self._open()  # for the next one
        return best.start(path, message, timeout, metadata)

    async def _connect_and_start(self, path: str, message: bytes, timeout: float | None, metadata: Metadata) -> bytes:
        began = time.monotonic()
        try:
            # Shielded: others may be waiting for the same connection.
            connection = await asyncio.shield(self._open())
        except OSError as error:
            raise CallFailed(Status.UNAVAILABLE, f"no connection: {_reason(error)}", unsent=True, lost=True) from error
        left = None if timeout is None else timeout - (time.monotonic() - began)
        return await connection.start(path, message, left, metadata)

    def _open(self) -> "asyncio.Task[Connection]":
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        return self._opening

    async def _connect(self) -> Connection:
        if self._closed:
            raise OSError("it is not a replica any more")
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await connect(self.address.where, self.address.authority, self._tls, self.address.host)
        self._connections.append(connection)
        return connection

    def _opened(self, task: "asyncio.Task[Connection]") -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # whoever needed the connection has been told

    def close(self) -> None:
        """Calls under way finish; there will be no new ones."""
        self._closed = True
        for connection in self._connections:
            connection.close()


class Replicas:
    """The set of them, in step with DNS for as long as somebody calls `refresh`."""

    def __init__(
        self,
        wanted: Sequence[Target],
        connections: int = 1,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = targets.resolve,
    ) -> None:
        self._targets, self._resolve = wanted, resolve
        self.name = ", ".join(map(str, wanted))
        self._make = partial(Replica, connections=connections, tls=tls)
        self._by_address: dict[Address, Replica] = {}
        self._told: dict[Target, list[Address]] = {}
        self._trouble: dict[Target, str] = {}

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._by_address.values())

    def __len__(self) -> int:
        return len(self._by_address)

    @property
    def trouble(self) -> str:
        """What DNS says where it is no help; empty where it is."""
        return "; ".join(self._trouble.values())

    @property
    def spare(self) -> bool:
        return balancing.spare(self)

    def having(self, name: str, version: int) -> list[Replica]:
        """The replicas that have it, ejected ones too."""
        return [replica for replica in self if version in replica.versions.get(name, ())]

    async def refresh(self) -> list[Replica]:
        """Asks DNS. Returns who is new."""
        await asyncio.gather(*(self._ask_dns(target) for target in self._targets))
        return self._follow(dict.fromkeys(itertools.chain.from_iterable(self._told.values())))

    async def _ask_dns(self, target: Target) -> None:
        try:
            found = await target.addresses(self._resolve)
        except (OSError, UnicodeError) as error:
            trouble = f"{target.host} does not resolve ({_reason(error)})"
            if self._trouble.get(target) != trouble:
                _log.warning("%s; who was there before stays", trouble)
            self._trouble[target] = trouble
            return
        self._trouble.pop(target, None)
        self._told[target] = found

    def _follow(self, addresses: Iterable[Address]) -> list[Replica]:
        for address in self._by_address.keys() - set(addresses):
            _log.info("replica %s is gone from DNS", address)
            self._by_address.pop(address).close()
        new = [self._make(address) for address in addresses if address not in self._by_address]
        self._by_address |= {replica.address: replica for replica in new}
        return new

    def eject_slow(self) -> Replica | None:
        """Ejects, and returns, a replica that is far slower than the others."""
        return balancing.eject_slow(list(self))

    def close(self) -> None:
        for replica in self:
            replica.close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
