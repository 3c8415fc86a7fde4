"""A runner that loads with its first call: signatures that are seldom used cost no memory until then."""

import asyncio
from collections.abc import Callable

from service.backends.base import Runner
from service.backends.embedded.threads import run_in_thread
from service.errors import BackendFailed
from service.types import Tensors


class DeferredRunner:
    def __init__(self, load: Callable[[], Runner]) -> None:
        """`load` runs on a thread of its own. Where it raises ValueError, the call fails, and the next tries again."""
        self.slots = 1
        self._load = load
        self._loading = asyncio.Lock()
        self._runner: Runner | None = None

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        async with self._loading:
            if self._runner is None:
                try:
                    self._runner = await run_in_thread(self._load)
                except ValueError as error:
                    raise BackendFailed(str(error)) from error
        return await self._runner.run(signature, inputs, outputs, timeout)

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.close()
