"""The embedded engine: versions of a repository folder, run inside this process."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.backends.base import Found, Golden, Loaded, Runner
from service.errors import NotReady
from service.manifest import GOLDEN, PROBABILITIES, SAVED_MODEL, TFLITE, WARMUP, Manifest, Signature
from service.messages import Tensors
from service.repository import Repository
from service.wire.warmup import read as read_warmup


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class EmbeddedRunner:
    """Sends each signature to the runner that has it."""

    by_signature: Mapping[str, Runner]
    runners: tuple[Runner, ...]

    @property
    def slots(self) -> int:
        return max(runner.slots for runner in self.runners)

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        return await self.by_signature[signature].run(signature, inputs, outputs, timeout)

    async def close(self) -> None:
        for runner in self.runners:
            await runner.close()


class EmbeddedBackend:
    """LiteRT where `model.tflite` has the signature, TensorFlow for whatever is left."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._last: Found | None = None  # as it was on disk at the last look
        self._told: dict[tuple[str, int], str] = {}

    async def find(self) -> Found:
        """What is on disk. What is there at the first look is taken as whole; later, a folder that changed
        since the last look is still being copied: it is told of as it was before, or not yet.
        """
        try:
            now = await asyncio.to_thread(self._repository.scan)
        except NotReady:
            self._last = self._last or {}
            raise
        told = {}
        for name, versions in now.items():
            for version, fingerprint in versions.items():
                key = (name, version)
                if self._last is None or self._last.get(name, {}).get(version) == fingerprint:
                    told[key] = fingerprint
                elif key in self._told:
                    told[key] = self._told[key]
        self._last, self._told = now, told
        return {
            name: {version: told[name, version] for version in versions if (name, version) in told}
            for name, versions in now.items()
        }

    async def ask(self, name: str) -> bool:
        return False  # the scan sees every folder already

    async def load(self, name: str, version: int) -> Loaded:
        return await asyncio.to_thread(self._load, name, version)

    def _load(self, name: str, version: int) -> Loaded:
        folder = self._repository.folder(name, version)
        manifest = Manifest.read(folder, name, version)
        warmup = tuple(read_warmup(folder / WARMUP)) if (folder / WARMUP).is_file() else ()
        if manifest is not None:
            golden = _golden(folder, manifest)  # before anything that would have to be closed again
            return Loaded(manifest, _own(folder, manifest), warmup, golden)
        runner, signatures = _foreign(folder)
        return Loaded(Manifest(name, version, signatures), runner, warmup)


def _golden(folder: Path, manifest: Manifest) -> Golden | None:
    if manifest.preprocessing is None or not (folder / GOLDEN).is_file():
        return None
    with np.load(folder / GOLDEN) as arrays:
        return Golden(
            manifest.preprocessing.image_signature,
            {"image": arrays["images"]},
            {PROBABILITIES: arrays["probabilities"]},
        )


def _own(folder: Path, manifest: Manifest) -> Runner:
    by_signature: dict[str, Runner] = {}
    runners: list[Runner] = []
    if (folder / TFLITE).is_file():
        from service.backends.litert import LiteRTRunner

        fast = LiteRTRunner(folder / TFLITE, cores())
        runners.append(fast)
        by_signature |= {name: fast for name in fast.signatures if name in manifest.signatures}
    # The signature that takes encoded images needs no graph where the service decodes them itself.
    recipe = manifest.preprocessing
    decoded = {recipe.bytes_signature} if recipe and recipe.image_signature in by_signature else set()
    missing = set(manifest.signatures) - set(by_signature) - decoded
    if missing:
        from service.backends.saved_model import SavedModelRunner

        whole = SavedModelRunner(folder)
        runners.append(whole)
        by_signature |= dict.fromkeys(missing, whole)
    return EmbeddedRunner(by_signature, tuple(runners))


def _foreign(folder: Path) -> tuple[Runner, Mapping[str, Signature]]:
    if (folder / SAVED_MODEL).is_file():
        from service.backends.saved_model import SavedModelRunner

        whole = SavedModelRunner(folder)
        return whole, whole.signatures
    from service.backends.litert import LiteRTRunner

    fast = LiteRTRunner(folder / TFLITE, cores())
    return fast, fast.signatures
