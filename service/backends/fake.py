"""A backend without a model: tests program it, and `--backend fake` serves it to measure the service itself."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from service.backends.base import Found, Loaded
from service.repository.manifest import CLASSES, PROBABILITIES, STRING, Manifest, Preprocessing, Signature, TensorSpec
from service.types import DEFAULT_SIGNATURE, Tensors

Compute = Callable[[str, Tensors], Awaitable[Tensors]]


async def double(signature: str, inputs: Tensors) -> Tensors:
    """y = 2x, row by row: an answer shows which request it belongs to."""
    return {"y": inputs["x"] * 2}


@dataclass
class FakeRunner:
    """Runs `compute`; `calls` keeps the rows of each run."""

    compute: Compute = double
    slots: int = 1
    calls: list[int] = field(default_factory=list)
    running: int = 0
    closed: bool = False

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        assert not self.closed, "run after close"
        assert self.running < self.slots, "more runs at once than slots"
        self.running += 1
        self.calls.append(len(next(iter(inputs.values()))))
        try:
            return await self.compute(signature, inputs)
        finally:
            self.running -= 1

    async def close(self) -> None:
        assert self.running == 0, "closed with a run under way"
        self.closed = True


FAKE_SIGNATURES = {
    DEFAULT_SIGNATURE: Signature(
        {"x": TensorSpec(np.dtype(np.float32).name, (None, 2))}, {"y": TensorSpec(np.dtype(np.float32).name, (None, 2))}
    )
}


@dataclass
class FakeBackend:
    """`versions` is what `find` sees: (name, version) -> a Loaded, or an exception for `load` to raise."""

    versions: dict[tuple[str, int], Loaded | Exception] = field(default_factory=dict)
    fingerprints: dict[tuple[str, int], str] = field(default_factory=dict)
    loads: list[tuple[str, int]] = field(default_factory=list)
    unreachable: Exception | None = None
    load_seconds: float = 0.0

    def add(
        self, name: str, version: int, runner: FakeRunner | None = None, manifest: Manifest | None = None
    ) -> FakeRunner:
        runner = runner or FakeRunner()
        manifest = manifest or Manifest(name, version, FAKE_SIGNATURES, checked=True)
        self.versions[name, version] = Loaded(manifest, runner)
        return runner

    async def find(self) -> Found:
        if self.unreachable is not None:
            raise self.unreachable
        found: dict[str, dict[int, str]] = {}
        for name, version in self.versions:
            found.setdefault(name, {})[version] = self.fingerprints.get((name, version), "")
        return found

    async def look_up(self, name: str) -> bool:
        return False

    async def load(self, name: str, version: int) -> Loaded:
        self.loads.append((name, version))
        await asyncio.sleep(self.load_seconds)
        loaded = self.versions[name, version]
        if isinstance(loaded, Exception):
            raise loaded
        return loaded


_SIZE, _COUNT = 8, 10


class InstantRunner:
    """A classifier that gives the same answer in no time."""

    slots = 1

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        rows = len(next(iter(inputs.values())))
        return {PROBABILITIES: np.full((rows, _COUNT), 1 / _COUNT, np.float32)}

    async def close(self) -> None:
        pass


def make_instant() -> FakeBackend:
    """Model `fake`, version 1: takes JPEG and PNG files as exports do, decoded to 8x8 pixels."""
    answer = {PROBABILITIES: TensorSpec("float32", (None, _COUNT))}
    manifest = Manifest(
        "fake",
        1,
        {
            DEFAULT_SIGNATURE: Signature(
                {"image_bytes": TensorSpec(STRING, (None,))}, {**answer, CLASSES: TensorSpec(STRING, (None, _COUNT))}
            ),
            "image": Signature({"image": TensorSpec("uint8", (None, _SIZE, _SIZE, 3))}, answer),
        },
        labels=tuple(map(str, range(_COUNT))),
        preprocessing=Preprocessing(_SIZE, _SIZE),
        checked=True,
        architecture="fake",
        precision="none",
    )
    return FakeBackend({("fake", 1): Loaded(manifest, InstantRunner())})
