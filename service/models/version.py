"""A loaded version: its manifest, its batcher and its leases."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from service.backends.base import Loaded
from service.batching.batcher import Batcher
from service.models.zero_shot import LabelEmbeddings
from service.repository.manifest import Manifest
from service.types import ModelRef


class State(StrEnum):
    """A version's states, by TensorFlow Serving's names."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True, slots=True)
class Status:
    version: int
    state: State
    error: str = ""


class Servable:
    """Stays loaded while it is leased; `retire` waits for the last lease."""

    def __init__(self, loaded: Loaded, batcher: Batcher, fingerprint: str) -> None:
        self.manifest: Manifest = loaded.manifest
        self.index = loaded.index
        self.batcher, self.fingerprint = batcher, fingerprint
        zero_shot = loaded.manifest.zero_shot
        self.label_embeddings = None if zero_shot is None else LabelEmbeddings(zero_shot, loaded.merges)
        self._runner = loaded.runner
        self._leases = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def ref(self) -> ModelRef:
        return ModelRef(self.manifest.name, self.manifest.version)

    @contextmanager
    def lease(self) -> Iterator["Servable"]:
        self._leases += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._leases -= 1
            if self._leases == 0:
                self._unused.set()

    async def retire(self) -> None:
        """Returns once every lease has ended and the runner is closed. No new lease may begin meanwhile."""
        await self._unused.wait()
        await self.batcher.drain()
        await self._runner.close()
