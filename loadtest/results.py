"""What a load test found: plain values that the runner fills and the report draws, kept as one JSON file.

    Run                      one sitting on one machine
      Subject                one served version of one architecture
        Point                one load on it: what was offered, what came back, where the time went
          Latencies          a histogram, so that every percentile and chart comes from the same counts
        Capacity             the highest rate whose p99 stayed under the SLO, with its confidence interval

All times are seconds unless a name says otherwise. An answer counts as one only where it was a success:
errors and refusals have their own counts and no latency.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, exp, floor, log
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

_STEP = log(1.01)
"""Buckets grow by 1 %: a percentile is off by at most half of that."""
_LEAST = 1e-5


@dataclass
class Latencies:
    """Counts of seconds in logarithmic buckets, 1 % wide."""

    counts: dict[int, int] = field(default_factory=dict)
    total: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        bucket = floor(log(max(seconds, _LEAST) / _LEAST) / _STEP)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += seconds
        self.longest = max(self.longest, seconds)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def percentile(self, percent: float) -> float | None:
        """Seconds that `percent` of the answers stayed within; None without any."""
        wanted = ceil(len(self) * percent / 100)
        for seconds, below in self.cumulative():
            if below >= wanted:
                return min(seconds, self.longest)
        return None

    def cumulative(self) -> list[tuple[float, int]]:
        """For each bucket in use its middle in seconds and how many answers came within it, ascending."""
        found, below = [], 0
        for bucket in sorted(self.counts):
            below += self.counts[bucket]
            found.append((_LEAST * exp((bucket + 0.5) * _STEP), below))
        return found


@dataclass
class Point:
    """One load. `offered` is requests/s in an open loop, None in a closed one, where `concurrency` says how many."""

    scenario: str
    """steps, burst, soak, search, single_stream, multi_stream, server, offline, overhead"""
    tool: str
    """locust or loadgen"""
    protocol: str
    """predict, oip, tfserving, grpc-tfserving, grpc-oip"""
    seconds: float
    """From the first intended start to the last answer, warm-up excluded."""
    latencies: Latencies
    """From the intended start of each request that succeeded."""
    requests: int
    """Intended within `seconds`: answers, errors, and those never answered. In multi_stream each is eight images,
    answered when all of them are."""
    offered: float | None = None
    concurrency: int | None = None
    errors: dict[str, int] = field(default_factory=dict)
    """Status or exception -> how many requests ended so."""
    invalid: str | None = None
    """Why this point must not be believed: the generator was late, the server died, too few samples."""
    stages: dict[str, float] = field(default_factory=dict)
    """Stage of `Server-Timing` (and `transport`: the rest) -> mean milliseconds an answer."""
    batches: dict[int, int] = field(default_factory=dict)
    """Batch size -> batches run."""
    server_cpu_seconds: float | None = None
    server_memory_mb: float | None = None
    generator_cpu_share: float | None = None
    """Of one core, at worst: near 1, the generator was the limit."""
    generator_late_ms: float | None = None
    """What 99 % of the starts were late at most by the generator's own doing; latencies contain it."""
    verdict: str | None = None
    """LoadGen's own: VALID, or INVALID and what it says of why. It judges by MLPerf's rules, `invalid` by ours."""

    stretches: list[Latencies] = field(default_factory=list)
    """`latencies` again, by when they were meant to start, in stretches of equal length (ten, say): requests that wait
    in one queue are late together, and only this tells chance from change when two runs are compared."""

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


@dataclass
class Capacity:
    """Requests/s; `low` and `high` are the 95 % confidence interval."""

    rate: float
    low: float
    high: float
    slo_ms: float
    samples: int


@dataclass
class Subject:
    """One served version and what it did. Accuracy is a share of 1, with where that number is from. `precision` is the
    export's; `engine` runs it on the measured machine and computes in `engine_precision`, empty where nobody says.
    `macs` are multiply-adds of one image, and `ceiling` how many of them, in 10^9 a second, that machine's cores can do
    together in this engine and precision; None where nobody knows.
    """

    model: str
    version: int
    architecture: str
    precision: str
    image_size: int
    parameters: int | None = None
    bytes_on_disk: int | None = None
    accuracy: float | None = None
    accuracy_source: str | None = None
    engine: str = ""
    engine_precision: str = ""
    macs: int | None = None
    ceiling: float | None = None
    points: list[Point] = field(default_factory=list)
    capacity: Capacity | None = None
    problem: str | None = None
    """Why it was not measured, or not to the end."""
    collapsed: bool = False
    """Whether that is because its service died or answered no more under load."""


@dataclass
class Run:
    """One sitting. `interrupted` is why it ended early."""

    started: datetime
    machine: dict[str, str]
    """What -> which: processor, cores, memory, versions of packages."""
    service: str
    """Command line or URL of what was measured."""
    method: dict[str, str]
    """Setting -> value, as chosen on the command line."""
    price_per_hour: float | None = None
    """Of the machine, in dollars."""
    subjects: list[Subject] = field(default_factory=list)
    interrupted: str | None = None

    def write(self, path: Path) -> None:
        """Every subject and point on a line of its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = TypeAdapter(Run).dump_json(self).decode().replace('{"model":', '\n{"model":')
        path.write_text(text.replace('{"scenario":', '\n{"scenario":') + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError where there is none, ValueError where it is not one of ours."""
        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path} is not a result of `python -m loadtest`: {where}: {first['msg']}") from error


def now() -> datetime:
    return datetime.now(UTC)
