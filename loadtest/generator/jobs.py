"""What a generator's process is told to do, and what it says of it: values that travel as lines of JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pydantic import TypeAdapter

from loadtest.generator.arrivals import Arrivals
from loadtest.results import Latencies


@dataclass(frozen=True)
class Closed:
    """`concurrency` users who ask again when they are answered, for `seconds`."""

    concurrency: int
    seconds: float


@dataclass(frozen=True)
class MLPerf:
    """One scenario of MLPerf's LoadGen by its own name (SingleStream, MultiStream, Server, Offline).

    `rate` is the requests/s that Server asks for, and a guess for Offline, which asks everything at once.
    """

    scenario: str
    seconds: float
    rate: float
    slo: float
    folder: str
    least_queries: int = 100


@dataclass(frozen=True)
class Job:
    """One load on one model. Times are seconds.

    `url` is http://host:port and `grpc` host:port; `photos` are files, asked with in turn. A load ends before its time
    once more than `give_up_over` of its requests were not answered within `slo`.
    """

    url: str
    grpc: str
    protocol: str
    model: str
    alias: str
    photos: tuple[str, ...]
    load: Arrivals | Closed | MLPerf
    warm_up: float
    slo: float
    timeout: float = 10.0
    give_up_over: int | None = None

    def to_line(self) -> str:
        return TypeAdapter(Job).dump_json(self).decode()

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        return TypeAdapter(cls).validate_json(line)


INTERRUPTED = "Ctrl-C"
"""Why a load ended before its time where its user has had enough."""
GAVE_UP = "far more than 1 % late"
"""Why a load ended before its time where it was asked to, by `give_up_over`."""


@dataclass
class Outcome:
    """What came of a job, warm-up excluded.

    `stages` are mean milliseconds an answer by the service's own account; `blocks` are, for each second of intended
    starts, how many there were and how many of them were not answered within the SLO; `stretches` are the latencies of
    each tenth of the load; `late` is how late the generator itself was, a request, and `prompt` the latencies without
    that; `crowded` that it had no more users for those who should have started; `ended` says why the load ended before
    its time; `verdict` is LoadGen's.
    """

    seconds: float
    requests: int
    latencies: Latencies
    late: Latencies
    prompt: Latencies
    errors: dict[str, int] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    blocks: list[tuple[int, int]] = field(default_factory=list)
    stretches: list[Latencies] = field(default_factory=list)
    cpu_share: float = 0.0
    crowded: bool = False
    ended: str | None = None
    verdict: str | None = None

    @classmethod
    def nothing(cls, ended: str) -> Self:
        return cls(0.0, 0, Latencies(), Latencies(), Latencies(), ended=ended)

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_document(cls, found: dict[str, Any]) -> Self:
        return TypeAdapter(cls).validate_python(found)
