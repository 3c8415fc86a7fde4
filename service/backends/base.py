"""The seam between the service and whatever computes: a Backend finds and loads versions, a Runner runs one.

`fake.FakeBackend` ships beside the real ones and obeys the same rules.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from service.repository.manifest import Manifest
from service.types import Array, Tensors


class Timed(dict[str, Array]):
    """Outputs, and the `seconds` that computing them took on the runner's own thread: what the event loop takes to hand
    the work over and back is no cost of the model.
    """

    seconds = 0.0


def run_timed(run: Callable[..., Tensors], *arguments: object) -> Timed:
    """`run(*arguments)`, for a runner's thread."""
    began = time.monotonic()
    outputs = Timed(run(*arguments))
    outputs.seconds = time.monotonic() - began
    return outputs


class Runner(Protocol):
    """One loaded version. `slots` is how many `run` calls it can usefully work on at a time."""

    @property
    def slots(self) -> int: ...

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        """Outputs by alias; the named ones at least, `Timed` where a thread of this process computes them. `timeout` in
        seconds.

        Raises InvalidInput where the inputs are to blame, else BackendFailed, NotReady or
        DeadlineExceeded. Called again while `slots` allow; never after `close`.
        """
        ...

    async def close(self) -> None:
        """Gives back memory and threads. No `run` is under way when it is called."""
        ...


@dataclass(frozen=True, slots=True)
class Golden:
    """Questions with known answers: `inputs` through `signature` gave `outputs` when it was exported."""

    signature: str
    inputs: Tensors
    outputs: Tensors


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that can run. `warmup` (signature, inputs) and `golden` are for before its first client.

    `unshared` names the signatures whose requests must not share a batch, and says why.
    """

    manifest: Manifest
    runner: Runner
    warmup: tuple[tuple[str, Tensors], ...] = ()
    golden: Golden | None = None
    unshared: Mapping[str, str] = field(default_factory=dict)


Found = Mapping[str, Mapping[int, str]]
"""Model name -> version -> fingerprint. A fingerprint that changes means: this version is not what it was."""


class CannotLoad(ValueError):
    """Why a version cannot be loaded, for whoever asks; `for_log` names places on this machine too."""

    def __init__(self, message: str, for_log: str) -> None:
        super().__init__(message)
        self.for_log = for_log


class Backend(Protocol):
    """Where versions come from."""

    async def find(self) -> Found:
        """Every version that could be loaded now. Raises NotReady where that cannot be told."""
        ...

    async def load(self, name: str, version: int) -> Loaded:
        """Ready to run. Raises any exception whose message tells an operator what is wrong with it."""
        ...

    async def ask(self, name: str) -> bool:
        """Makes `find` look for a model nobody has named yet. True where that is worth another `find`."""
        ...
