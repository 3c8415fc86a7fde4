"""One load on one model: made by the generator, watched at the service, and judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.generator.arrivals import Arrivals
from loadtest.generator.jobs import GAVE_UP, INTERRUPTED, Closed, Job, MLPerf, Outcome
from loadtest.generator.parent import GeneratorProcess
from loadtest.progress import Progress
from loadtest.results import Point
from loadtest.target import metrics as metrics_page
from loadtest.target import processes
from loadtest.target.metrics import Scrape
from loadtest.target.target import Served, Target

_SATURATED = 0.9  # of a core, the generator's one
_LATE_SHARE, _LATE_FLOOR = 0.1, 0.0005  # of a percentile, and seconds that never matter
_LEAST_STOPPED = 0.5  # of a load, without which it says nothing


class Ended(Exception):
    """Nothing more shall be measured, because the user has had enough; the message says why."""


class Collapsed(Exception):
    """This model cannot be measured any further: its service died or answers no more; the message says how."""


@dataclass(frozen=True)
class _Look:
    """At the service, before or after a load."""

    scrape: Scrape
    cpu_seconds: float | None


@dataclass(frozen=True)
class Loads:
    """Loads on one served model in one protocol, shown on `progress`."""

    generator: GeneratorProcess
    target: Target
    served: Served
    protocol: str
    photos: Sequence[str]
    slo: float
    progress: Progress

    def put(
        self,
        scenario: str,
        load: Arrivals | Closed | MLPerf,
        warm_up: float = 0.5,
        give_up_over: int | None = None,
        keep: Callable[[Point], None] | None = None,
    ) -> tuple[Point, Outcome]:
        """`keep` gets the point before anything else can happen. Raises Collapsed where the service is gone and Ended
        where the user has had enough, after what there was by then was kept.
        """
        before: list[_Look] = []

        def hear(event: dict[str, Any]) -> None:
            if event["event"] == "measuring":
                before.append(self._look())
            self.progress.hear(event)

        job = Job(
            self.target.url,
            self.target.grpc,
            self.protocol,
            self.served.subject.model,
            self.served.alias,
            tuple(self.photos),
            load,
            warm_up,
            self.slo,
            give_up_over=give_up_over,
        )
        outcome = self.generator.run(job, hear, self.target.trouble)
        over = outcome.ended is not None and outcome.ended != GAVE_UP
        point = self._point(scenario, load, outcome, before[0] if before else None, gone=over)
        if keep is not None and outcome.requests:
            keep(point)
            self.progress.point(point)
        if over:
            assert outcome.ended is not None
            if outcome.ended == INTERRUPTED:
                raise Ended(outcome.ended)
            raise Collapsed(self.target.trouble() or outcome.ended)
        return point, outcome

    def _look(self) -> _Look:
        subject, pid = self.served.subject, self.target.pid
        scrape = metrics_page.scrape(self.target.url, subject.model, subject.version)
        return _Look(scrape, None if pid is None else processes.cpu_seconds(pid))

    def _point(
        self, scenario: str, load: Arrivals | Closed | MLPerf, outcome: Outcome, before: _Look | None, gone: bool
    ) -> Point:
        point = Point(
            scenario,
            "loadgen" if isinstance(load, MLPerf) else "locust",
            self.protocol,
            outcome.seconds,
            outcome.latencies,
            outcome.requests,
            offered=_offered(load),
            concurrency=_concurrency(load),
            errors=outcome.errors,
            invalid=why_invalid(load, outcome),
            stages=outcome.stages,
            generator_cpu_share=outcome.cpu_share,
            generator_late_ms=_milliseconds(outcome.late.percentile(99)),
            verdict=outcome.verdict,
            stretches=outcome.stretches,
        )
        if gone or before is None:
            return point
        after = self._look()
        point.batches = after.scrape.batches_since(before.scrape)
        if not point.stages and (mean := after.scrape.stages_since(before.scrape)):  # gRPC has no header for them
            point.stages = _with_transport(mean, outcome)
        if self.target.pid is not None and after.cpu_seconds is not None and before.cpu_seconds is not None:
            point.server_cpu_seconds = after.cpu_seconds - before.cpu_seconds
            point.server_memory_mb = processes.memory_mb(self.target.pid)
        return point


def _offered(load: Arrivals | Closed | MLPerf) -> float | None:
    match load:
        case Arrivals(rate=rate) | MLPerf(scenario="Server", rate=rate):
            return rate
        case _:
            return None


def _concurrency(load: Arrivals | Closed | MLPerf) -> int | None:
    match load:
        case Closed(concurrency=concurrency):
            return concurrency
        case MLPerf(scenario="SingleStream" | "MultiStream"):
            return 1
        case _:
            return None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _with_transport(mean: dict[str, float], outcome: Outcome) -> dict[str, float]:
    total = mean.pop("total", 0.0)
    mean.pop("render", None)  # comes after the total, and so within the rest
    taken = 1000 * outcome.latencies.total / max(1, len(outcome.latencies))
    return {**mean, "transport": max(0.0, taken - total)}


def why_invalid(load: Arrivals | Closed | MLPerf, outcome: Outcome) -> str | None:
    """Why not to believe it: reasons that lie with the generator, or with a load that was cut short."""
    if outcome.cpu_share > _SATURATED:
        return f"the generator was the limit: it took {outcome.cpu_share:.0%} of a core"
    if outcome.crowded:
        return "the generator ran out of connections: more requests were under way than it has users for"
    for percent in (50, 90, 99):
        seen, prompt = outcome.latencies.percentile(percent), outcome.prompt.percentile(percent)
        if seen is not None and prompt is not None and seen - prompt > max(_LATE_FLOOR, _LATE_SHARE * prompt):
            return f"the generator started requests late: without that p{percent} is {1000 * prompt:.1f} ms"
    if isinstance(load, MLPerf) and outcome.errors:
        return (
            f"{sum(outcome.errors.values())} requests failed, which LoadGen takes for answers: do not quote its summary"
        )
    if outcome.ended and outcome.seconds < _LEAST_STOPPED * load.seconds and outcome.ended != GAVE_UP:
        return f"cut short after {outcome.seconds:.1f} s: {outcome.ended.splitlines()[0]}"
    return None
