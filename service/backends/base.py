"""The seam to whatever computes: a Backend finds and loads versions, a Runner runs one version.

`fake.FakeBackend` ships beside the real ones and obeys the same rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from service.repository.image_index import ImageIndex
from service.repository.manifest import Manifest
from service.repository.vocabulary import Merges
from service.types import Array, Tensors


class Timed(dict[str, Array]):
    """Outputs, and the `seconds` that they took on the runner's own thread: the hand-over to that thread and back is no
    cost of the model.
    """

    seconds = 0.0


class Runner(Protocol):
    """One loaded version. `slots` is the number of `run` calls that it can work on at a time."""

    @property
    def slots(self) -> int: ...

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        """Outputs by alias: at least those named by `outputs`, all where it is empty. `timeout` is in seconds.

        The result is `Timed` where a thread of this process computes it. At most `slots` calls run at a time, and none
        after `close`. Raises InvalidInput where the inputs are to blame, else BackendFailed, NotReady or
        DeadlineExceeded.
        """

    async def close(self) -> None:
        """Frees memory and threads. No `run` is under way when it is called."""


@dataclass(frozen=True, slots=True)
class Golden:
    """A check of a version: at export, `signature` gave `outputs` for `inputs`."""

    signature: str
    inputs: Tensors
    outputs: Tensors


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that can run. `warmup` (signature, inputs) and `golden` run before its first client.

    `unshared` maps each signature whose requests must not share a batch to the reason. `engine` computes in
    `precision`, where it runs in this process; both are empty where that is unknown. `index` holds the training
    images that others are compared with, None where there are none. `merges` are the vocabulary of a version that takes
    texts.
    """

    manifest: Manifest
    runner: Runner
    warmup: tuple[tuple[str, Tensors], ...] = ()
    golden: Golden | None = None
    unshared: Mapping[str, str] = field(default_factory=dict)
    engine: str = ""
    precision: str = ""
    index: ImageIndex | None = None
    merges: Merges = ()


Found = Mapping[str, Mapping[int, str]]
"""Model name -> version -> fingerprint. A changed fingerprint means that the version's content has changed."""


class CannotLoad(ValueError):
    """Why a version cannot be loaded: the message is for clients, `for_log` also names places on this machine."""

    def __init__(self, message: str, for_log: str) -> None:
        super().__init__(message)
        self.for_log = for_log


class Backend(Protocol):
    """Where versions come from."""

    async def find(self) -> Found:
        """Every version that could be loaded now. Raises NotReady where that cannot be found out."""

    async def load(self, name: str, version: int) -> Loaded:
        """The version, ready to run. Raises an exception whose message tells an operator what is wrong."""

    async def look_up(self, name: str) -> bool:
        """Makes `find` look for a model that it does not know yet. True where another `find` may find it."""
