"""The Prometheus series of upstream replicas, read from the replicas' counts at each scrape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

_LABELS = ("replica",)


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """One replica now. `latency` is in seconds, None before any answer. The last four count since its discovery."""

    replica: str
    healthy: bool
    outstanding: int
    latency: float | None
    attempts: int = 0
    failures: int = 0
    retries: int = 0
    hedges: int = 0


class ReplicaMetrics:
    def __init__(self, registry: CollectorRegistry, gauge: Callable[..., Gauge]) -> None:
        self._outstanding = gauge(
            "model_server_upstream_outstanding", "Requests under way at this replica, status calls too.", "replica"
        )
        self._ejected = gauge(
            "model_server_upstream_ejected",
            "1 while this replica gets no requests, or one on trial; with several workers, for how many of them.",
            "replica",
        )
        self._latency = Gauge(
            "model_server_upstream_latency_seconds",
            "Average latency of recent answers of this replica; with several workers, the largest.",
            _LABELS,
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._counters = {
            name: Counter(f"model_server_upstream_{name}", text, _LABELS, registry=registry)
            for name, text in (
                ("attempts", "Requests sent to this replica, retries and hedges too."),
                ("failures", "Attempts that this replica failed."),
                ("retries", "Attempts at this replica because another had failed, or not answered in time."),
                ("hedges", "Attempts at this replica while another was still working on the request."),
            )
        }
        self._reports: Callable[[], Sequence[ReplicaReport]] = list
        self._last: dict[str, ReplicaReport] = {}

    def follow(self, reports: Callable[[], Sequence[ReplicaReport]]) -> None:
        self._reports = reports

    def refresh(self) -> None:
        now = {report.replica: report for report in self._reports()}
        for name, report in now.items():
            self._outstanding.labels(name).set(report.outstanding)
            self._ejected.labels(name).set(not report.healthy)
            self._latency.labels(name).set(report.latency or 0.0)
            last = self._last.get(name)
            for counted, counter in self._counters.items():
                more = getattr(report, counted) - (getattr(last, counted) if last else 0)
                counter.labels(name).inc(max(more, 0))  # a replica that went and came back counts from zero again
        for name in self._last.keys() - now.keys():  # with several workers a series stays in its file
            for gauge in (self._outstanding, self._ejected, self._latency):
                gauge.labels(name).set(0)
        self._last = now
