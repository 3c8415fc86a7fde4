"""Who there is: one Replica an address, its connections and standing, and the set of them that follows DNS."""

import asyncio
import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from service.backends.tfserving import load_balancer as balancing
from service.backends.tfserving import targets
from service.backends.tfserving.channel import Channel
from service.backends.tfserving.load_balancer import Standing
from service.backends.tfserving.targets import Address, Resolve, Target
from service.observability.context import Metadata

_log = logging.getLogger("service.upstreams")
_GRACE = 60.0  # seconds for the calls that a replica gone from DNS is still working on


@dataclass(slots=True)
class Tally:
    """What a replica was sent since it is known: `retries` and `hedges` are among the `attempts`."""

    attempts: int = 0
    failures: int = 0
    retries: int = 0
    hedges: int = 0


class Replica:
    """One server: up to `connections` to it, opened as they are needed."""

    def __init__(self, address: Address, connections: int, authorities: bytes | None) -> None:
        """`authorities` as a Channel takes them."""
        self.address, self.name = address, str(address)
        self.standing = Standing(time.monotonic)
        self.versions: dict[str, frozenset[int]] = {}
        """Model name -> its AVAILABLE versions, as last told. Whoever asks for its status writes it."""
        self.tally = Tally()
        self._channels = [Channel(address, authorities) for _ in range(connections)]

    def lose(self, name: str, version: int) -> None:
        """It has just said that it does not have this version (any more)."""
        self.versions[name] = self.versions.get(name, frozenset()) - {version}

    def start(self, path: str, message: bytes, timeout: float | None, metadata: Metadata = ()) -> "asyncio.Task[bytes]":
        """A call on the connection with the fewest; the task raises CallFailed, and cancelling it cancels the call."""
        channel = min(self._channels, key=lambda channel: channel.load)
        return asyncio.get_running_loop().create_task(channel.call(path, message, timeout, metadata))

    async def close(self, grace: float) -> None:
        """Lets calls under way finish for `grace` seconds; new ones fail."""
        await asyncio.gather(*(channel.close(grace) for channel in self._channels))


class Replicas:
    """The set of them, in step with DNS for as long as somebody calls `refresh`."""

    def __init__(
        self,
        wanted: Sequence[Target],
        connections: int = 1,
        authorities: bytes | None = None,
        resolve: Resolve = targets.resolve,
    ) -> None:
        self._targets, self._resolve = wanted, resolve
        self.name = ", ".join(map(str, wanted))
        self._make = partial(Replica, connections=connections, authorities=authorities)
        self._by_address: dict[Address, Replica] = {}
        self._closing: set[asyncio.Task[None]] = set()
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
            self._close(self._by_address.pop(address))
        new = [self._make(address) for address in addresses if address not in self._by_address]
        self._by_address |= {replica.address: replica for replica in new}
        return new

    def eject_slow(self) -> Replica | None:
        """Ejects, and returns, a replica that is far slower than the others."""
        return balancing.eject_slow(list(self))

    def _close(self, replica: Replica) -> None:
        closing = asyncio.get_running_loop().create_task(replica.close(_GRACE))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends what is under way."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*(replica.close(0.0) for replica in self))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
