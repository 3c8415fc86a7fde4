"""The replicas: one for each address, with its connections and standing; the set of them follows DNS."""

import asyncio
import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from service.backends.tfserving import load_balancer, targets
from service.backends.tfserving.channel import Channel
from service.backends.tfserving.load_balancer import Standing
from service.backends.tfserving.targets import Address, Resolve, Target
from service.observability.context import Metadata

_log = logging.getLogger("service.upstreams")
_GRACE = 60.0  # seconds for calls under way at a replica that is gone from DNS


@dataclass(slots=True)
class Tally:
    """Counts of one replica; `attempts` include `retries` and `hedges`."""

    attempts: int = 0
    failures: int = 0
    retries: int = 0
    hedges: int = 0


class Replica:
    """One server, with up to `connections` connections, opened as needed."""

    def __init__(self, address: Address, connections: int, authorities: bytes | None) -> None:
        """`authorities` as in `Channel`."""
        self.address, self.name = address, str(address)
        self.standing = Standing(time.monotonic)
        self.versions: dict[str, frozenset[int]] = {}
        """Model name -> its AVAILABLE versions, as of the last status call. `Survey` writes it."""
        self.tally = Tally()
        self._channels = [Channel(address, authorities) for _ in range(connections)]

    def forget(self, name: str, version: int) -> None:
        """Drops a version that the replica has just said it does not have."""
        self.versions[name] = self.versions.get(name, frozenset()) - {version}

    def start(self, path: str, message: bytes, timeout: float | None, metadata: Metadata = ()) -> "asyncio.Task[bytes]":
        """Calls on the connection with the fewest calls. The task raises CallFailed; cancelling it cancels the call."""
        channel = min(self._channels, key=lambda channel: channel.load)
        return asyncio.get_running_loop().create_task(channel.call(path, message, timeout, metadata))

    async def close(self, grace: float) -> None:
        """Lets calls under way finish for `grace` seconds; new ones fail."""
        await asyncio.gather(*(channel.close(grace) for channel in self._channels))


class Replicas:
    """The set of replicas; `refresh` brings it in step with DNS."""

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
        self._resolved: dict[Target, list[Address]] = {}
        self._trouble: dict[Target, str] = {}

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._by_address.values())

    @property
    def trouble(self) -> str:
        """Why names do not resolve; empty where all do."""
        return "; ".join(self._trouble.values())

    @property
    def spare(self) -> bool:
        return load_balancer.has_spare(self)

    def find_having(self, name: str, version: int) -> list[Replica]:
        """The replicas that have the version, ejected ones too."""
        return [replica for replica in self if version in replica.versions.get(name, ())]

    async def refresh(self) -> list[Replica]:
        """Resolves the targets. Returns the new replicas."""
        await asyncio.gather(*(self._resolve_target(target) for target in self._targets))
        return self._follow(dict.fromkeys(itertools.chain.from_iterable(self._resolved.values())))

    async def _resolve_target(self, target: Target) -> None:
        try:
            found = await target.find_addresses(self._resolve)
        except (OSError, UnicodeError) as error:
            trouble = f"{target.host} does not resolve ({_describe(error)})"
            if self._trouble.get(target) != trouble:
                _log.warning("%s; its known replicas stay", trouble)
            self._trouble[target] = trouble
            return
        self._trouble.pop(target, None)
        self._resolved[target] = found

    def _follow(self, addresses: Iterable[Address]) -> list[Replica]:
        for address in self._by_address.keys() - set(addresses):
            _log.info("replica %s is gone from DNS", address)
            self._close(self._by_address.pop(address))
        new = [self._make(address) for address in addresses if address not in self._by_address]
        self._by_address |= {replica.address: replica for replica in new}
        return new

    def _close(self, replica: Replica) -> None:
        closing = asyncio.get_running_loop().create_task(replica.close(_GRACE))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends the calls under way."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*(replica.close(0.0) for replica in self))


def _describe(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
