"""Every Prometheus series of the service, in one registry of its own; `worker_files` adds up several workers'."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.exposition import choose_encoder

from service.observability.context import OK, Trace
from service.observability.metrics.process import ProcessMetrics
from service.observability.metrics.routes import RouteMetrics
from service.observability.metrics.security import GuardMetrics
from service.observability.metrics.statistics import BATCH_ROWS, REQUESTS, STAGES, Statistics, read_statistics
from service.observability.metrics.upstreams import ReplicaMetrics
from service.observability.metrics.versions import VersionMetrics, version_labels
from service.observability.metrics.worker_files import WorkerFiles, WorkersCollector
from service.types import ModelRef, PredictResult

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_BYTES = tuple(4**power for power in range(4, 14))  # 256 bytes to 64 MiB
_MOST_ENDED = 1000  # ended versions whose late answers are removed
_LINGER = 60.0  # seconds that a worker keeps an ended version's numbers: others may still count for it


@dataclass(frozen=True, slots=True)
class Shared:
    """One of several workers: its number, the folder of all workers' files, and their parent process."""

    worker: int
    folder: Path
    parent: int


class Metrics:
    def __init__(self, shared: Shared | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a timestamp series beside every one of ours, which nobody plots
        self._registry = self._page = CollectorRegistry()
        self._clock = clock
        self._files: WorkerFiles | None = None
        self._orphans_at = clock() + _LINGER
        values.ValueClass = values.MutexValue  # whatever the environment says
        if shared is not None:
            values.ValueClass = self._files = WorkerFiles(shared.worker, shared.folder)
            self._page = CollectorRegistry()
            self._page.register(WorkersCollector(shared.folder))
        self._page.register(ProcessMetrics(shared.parent if shared else None))
        self.guards = GuardMetrics(self._registry)
        self.routes = RouteMetrics(self._registry)
        self.replicas = ReplicaMetrics(self._registry, self._gauge)
        self.versions = VersionMetrics(self._gauge)
        counter = partial(Counter, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        self._requests = counter(
            REQUESTS,
            "Predict calls, by the version that answered (empty where none did) and the error code (OK where none).",
            ("model", "version", "protocol", "code"),
        )
        self._stages = histogram(
            STAGES,
            "Seconds of successful calls by stage: read (the body), decode, queue (for its turn), batch (for company), "
            "compute; total, which is these; and render, the answer's writing and sending.",
            ("model", "version", "stage"),
            buckets=_SECONDS,
        )
        self._request_bytes = histogram(
            "model_server_request_bytes",
            "Bytes of the bodies of predict calls.",
            ("model", "version", "protocol"),
            buckets=_BYTES,
        )
        self._response_bytes = histogram(
            "model_server_response_bytes",
            "Bytes of the answers to predict calls.",
            ("model", "version", "protocol"),
            buckets=_BYTES,
        )
        self._batch_rows = histogram(
            BATCH_ROWS,
            "Rows of each batch that went to the model.",
            ("model", "version"),
            buckets=_ROWS,
        )
        self._dead_rows = counter(
            "model_server_dead_rows",
            "Rows that went to the model although their caller was gone or their deadline past.",
            ("model", "version"),
        )
        self._dropped_rows = counter(
            "model_server_dropped_rows",
            "Rows that left the queue without going to the model: expired (or about to), or cancelled by their caller.",
            ("model", "version", "reason"),
        )
        self._coalesced = counter(
            "model_server_coalesced_requests",
            "Predict calls that were answered by the run of an identical one under way.",
            ("model", "version"),
        )
        self._worker_starts = Counter(
            "model_server_worker_starts", "Starts of worker processes, restarts among them.", registry=self._registry
        )
        self._ready = self._gauge(
            "model_server_ready", "1 while /readyz says yes; with several workers, how many of them say so."
        )
        self._in_flight = self._gauge("model_server_requests_in_flight", "Predict calls under way.")
        self._by_version = (
            *(self._requests, self._stages, self._request_bytes, self._response_bytes),
            *(self._batch_rows, self._dead_rows, self._dropped_rows, self._coalesced),
        )
        self._answers: dict[tuple[ModelRef, str], _Answers] = {}
        self._ended: dict[ModelRef, None] = {}
        self._ending: dict[ModelRef, float] = {}
        """Ended versions that are still on the page, and since when."""
        self._failures: dict[tuple[ModelRef | None, str, str], Counter] = {}
        self._says_ready: Callable[[], bool] = bool
        self._worker_starts.inc()
        self._in_flight.set(0)

    def started(self) -> None:
        self._in_flight.inc()

    def succeeded(self, protocol: str, result: PredictResult, trace_id: str = "") -> None:
        """`trace_id` of a trace that is kept becomes an exemplar."""
        self._in_flight.dec()
        exemplar = {"trace_id": trace_id} if trace_id else None
        answers = self._answers_of(result.answered_by, protocol)
        answers.ok.inc(1, exemplar)
        for stage, seconds in result.timings.stages().items():
            answers.stages[stage].observe(seconds, exemplar)

    def failed(self, protocol: str, code: str, ref: ModelRef | None) -> None:
        """Of a call that was started."""
        self._in_flight.dec()
        self.refused(protocol, code, ref)

    def refused(self, protocol: str, code: str, ref: ModelRef | None) -> None:
        """A call that was never started. `ref` is None where the model is not served: a client's invention must not
        become a label.
        """
        failures = self._failures.get((ref, protocol, code))
        if failures is None:
            model, version = ("", "") if ref is None else version_labels(ref)
            failures = self._failures[ref, protocol, code] = self._requests.labels(model, version, protocol, code)
        failures.inc()

    def finished(self, request: Trace, render: float | None, sent: int) -> None:
        """The end of a call that found a version: `render` in seconds (None without an answer), `sent` in bytes."""
        assert request.ref is not None
        answers = self._answers_of(request.ref, request.protocol)
        answers.request_bytes.observe(request.received)
        answers.response_bytes.observe(sent)
        if render is not None:
            answers.stages["render"].observe(render)

    def batches(self, ref: ModelRef) -> "Batches":
        """The events of one version's batcher."""
        self._ended.pop(ref, None)
        self._ending.pop(ref, None)
        model, number = version_labels(ref)
        return Batches(
            self._batch_rows.labels(model, number),
            self._dead_rows.labels(model, number),
            {reason: self._dropped_rows.labels(model, number, reason) for reason in ("expired", "cancelled")},
        )

    def coalesced(self, ref: ModelRef) -> None:
        self._coalesced.labels(*version_labels(ref)).inc()

    def ended(self, ref: ModelRef, state: str) -> None:
        """A version leaves `state` and is served no more. The next page is the last that counts for it."""
        self.versions.ended(ref, state)
        if self._files is None:
            self.versions.remove(ref)
        self._ended[ref] = None
        self._ending[ref] = self._clock()
        while len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def follow_readiness(self, ready: Callable[[], bool]) -> None:
        self._says_ready = ready

    def refresh(self) -> None:
        """Reads readiness, queues and replicas. A page does so itself; one of several workers has to do so now and then
        for the pages of the others.
        """
        ready = self._says_ready()
        self._ready.set(ready)
        self.versions.refresh()
        self.replicas.refresh()
        if self._files is not None:
            self._remove_ended(_LINGER)
            if ready and self._clock() >= self._orphans_at:
                self._files.remove_orphans()
                self._orphans_at = inf

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type: text, or OpenMetrics (with exemplars) where `accept` asks for it."""
        self.refresh()
        encode, content_type = choose_encoder(accept)
        page = encode(self._page)
        if self._files is None:
            self._remove_ended()
        return page, content_type

    def read_statistics(self) -> dict[ModelRef, Statistics]:
        """By version, of all workers together."""
        return read_statistics(self._page.collect())

    def _remove_ended(self, linger: float = 0.0) -> None:
        """Removes versions that ended `linger` seconds ago. An answer that a slow client takes after that brings series
        back; they are removed the next time.
        """
        until = self._clock() - linger
        kept = {ref for ref, since in self._ending.items() if since > until}
        removed = {ref for ref, *_ in (*self._answers, *self._failures) if ref in self._ended} | self._ending.keys()
        removed -= kept
        self._answers = {key: series for key, series in self._answers.items() if key[0] not in removed}
        self._failures = {key: series for key, series in self._failures.items() if key[0] not in removed}
        for ref in removed:
            self._ending.pop(ref, None)
            self.versions.remove(ref)
            model, version = version_labels(ref)
            for metric in self._by_version:
                metric.remove_by_labels({"model": model, "version": version})
            if self._files is not None:
                self._files.remove(model, version)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge that is summed over living workers."""
        return Gauge(name, text, labels, multiprocess_mode="livesum", registry=self._registry)

    def _answers_of(self, ref: ModelRef, protocol: str) -> "_Answers":
        """The series of one version and protocol, kept because a look-up by labels costs as much as counting."""
        found = self._answers.get((ref, protocol))
        if found is None:
            model, number = version_labels(ref)
            stages = ("read", "decode", "queue", "batch", "compute", "total", "render")
            found = self._answers[ref, protocol] = _Answers(
                self._requests.labels(model, number, protocol, OK),
                {stage: self._stages.labels(model, number, stage) for stage in stages},
                self._request_bytes.labels(model, number, protocol),
                self._response_bytes.labels(model, number, protocol),
            )
        return found


@dataclass(frozen=True, slots=True)
class Batches:
    rows: Histogram
    dead: Counter
    drops: dict[str, Counter]

    def batch(self, rows: int, dead: int) -> None:
        self.rows.observe(rows)
        if dead:
            self.dead.inc(dead)

    def dropped(self, reason: str, rows: int) -> None:
        self.drops[reason].inc(rows)


@dataclass(frozen=True, slots=True)
class _Answers:
    ok: Counter
    stages: dict[str, Histogram]
    request_bytes: Histogram
    response_bytes: Histogram
