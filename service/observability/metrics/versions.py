"""The Prometheus series of versions: their states and queues."""

from collections.abc import Callable

from prometheus_client import Gauge

from service.observability.metrics.worker_files import STATES
from service.types import ModelRef


class VersionMetrics:
    def __init__(self, gauge: Callable[..., Gauge]) -> None:
        self._queue_rows = gauge("model_server_queue_rows", "Rows waiting for a free slot.", "model", "version")
        self._states = gauge(
            STATES[0],
            "1 for the state a version is in; with several workers, how many of them have it in that state.",
            *("model", "version", "state"),
        )
        self._failed = gauge(
            STATES[1],
            "1 while a version that lies in the repository cannot be loaded; its log line says why. With several "
            "workers, how many of them cannot.",
            *("model", "version"),
        )
        self._engines = gauge(
            "model_server_engine_info",
            "1 for the engine that runs a version in this process, and the precision it computes in; with several "
            "workers, how many of them run it so.",
            *("model", "version", "engine", "precision"),
        )
        self._engine: dict[ModelRef, tuple[str, str]] = {}
        self._queues: dict[ModelRef, Callable[[], int]] = {}

    def loaded(self, ref: ModelRef, queued_rows: Callable[[], int], engine: str = "", precision: str = "") -> None:
        """Starts to report a version's queue, and its engine where that is known."""
        self._queues[ref] = queued_rows
        self._remove_engine(ref)
        if engine:
            self._engine[ref] = engine, precision
            self._engines.labels(*version_labels(ref), engine, precision).set(1)

    def ended(self, ref: ModelRef, state: str) -> None:
        """The version leaves `state` and is served no more."""
        self._queues.pop(ref, None)
        self._remove_engine(ref)
        labels = version_labels(ref)
        self._queue_rows.labels(*labels).set(0)
        self._states.labels(*labels, state).set(0)
        self._failed.labels(*labels).set(0)

    def remove(self, ref: ModelRef) -> None:
        model, version = version_labels(ref)
        for gauge in (self._queue_rows, self._states, self._failed):
            gauge.remove_by_labels({"model": model, "version": version})

    def state(self, ref: ModelRef, state: str, previous: str | None) -> None:
        if previous is not None and previous != state:
            self._states.labels(*version_labels(ref), previous).set(0)
        self._states.labels(*version_labels(ref), state).set(1)

    def failed(self, ref: ModelRef, failed: bool) -> None:
        """Whether the version could not be loaded; False too once its files are gone."""
        self._failed.labels(*version_labels(ref)).set(failed)

    def _remove_engine(self, ref: ModelRef) -> None:
        if (engine := self._engine.pop(ref, None)) is not None:
            self._engines.remove(*version_labels(ref), *engine)

    def refresh(self) -> None:
        for ref, queued_rows in self._queues.items():
            self._queue_rows.labels(*version_labels(ref)).set(queued_rows())


def version_labels(ref: ModelRef) -> tuple[str, str]:
    """The labels `model` and `version` of a series."""
    return ref.name, "" if ref.version is None else str(ref.version)
