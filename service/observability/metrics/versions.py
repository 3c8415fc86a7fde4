"""The Prometheus series of versions: the states they are in, what waits for them."""

from collections.abc import Callable, Iterable

from prometheus_client import Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.types import ModelRef

_STATES = ("model_server_version_state", "model_server_version_failed")
"""Above 0 for the versions that there are, or that could not be loaded."""


class VersionMetrics:
    """Names, labels and units are the public interface of dashboards: add, do not rename."""

    def __init__(self, gauge: Callable[..., Gauge], *, series_stay: bool) -> None:
        """`series_stay` where several workers keep them in files, from which none can be removed."""
        self._series_stay = series_stay
        self._queue_rows = gauge("model_server_queue_rows", "Rows waiting for a free slot.", "model", "version")
        self._states = gauge(
            _STATES[0],
            "1 for the state a version is in; with several workers, how many of them have it in that state.",
            *("model", "version", "state"),
        )
        self._failed = gauge(
            _STATES[1],
            "1 while a version that lies in the repository cannot be loaded; its log line says why. With several "
            "workers, how many of them cannot.",
            *("model", "version"),
        )
        self._queues: dict[ModelRef, Callable[[], int]] = {}

    def loaded(self, ref: ModelRef, queued_rows: Callable[[], int]) -> None:
        """Starts to report a version's queue."""
        self._queues[ref] = queued_rows

    def ended(self, ref: ModelRef, state: str) -> None:
        """It is served no more, and told of no more: it leaves `state`."""
        self._queues.pop(ref, None)
        labels = _labels(ref)
        if self._series_stay:
            self._queue_rows.labels(*labels).set(0)
            self._states.labels(*labels, state).set(0)
            self._failed.labels(*labels).set(0)
            return
        for gauge in (self._queue_rows, self._states, self._failed):
            gauge.remove_by_labels(dict(zip(("model", "version"), labels, strict=True)))

    def state(self, ref: ModelRef, state: str, previous: str | None) -> None:
        if previous is not None and previous != state:
            self._states.labels(*_labels(ref), previous).set(0)
        self._states.labels(*_labels(ref), state).set(1)

    def failed(self, ref: ModelRef, failed: bool) -> None:
        """Whether what lies there could not be loaded; False too once it lies there no more."""
        self._failed.labels(*_labels(ref)).set(failed)

    def refresh(self) -> None:
        for ref, queued_rows in self._queues.items():
            self._queue_rows.labels(*_labels(ref)).set(queued_rows())


class OfLivingVersions(Collector):
    """Everything that workers keep in files, without versions that none of them has or has failed to load."""

    def __init__(self, everything: Collector) -> None:
        self._everything = everything

    def collect(self) -> Iterable[Metric]:
        metrics = list(self._everything.collect())
        living = {
            (sample.labels["model"], sample.labels["version"])
            for metric in metrics
            if metric.name in _STATES
            for sample in metric.samples
            if sample.value
        }
        for metric in metrics:
            metric.samples = [
                sample
                for sample in metric.samples
                if not sample.labels.get("version") or (sample.labels.get("model"), sample.labels["version"]) in living
            ]
        return metrics


def _labels(ref: ModelRef) -> tuple[str, str]:
    return ref.name, str(ref.version)
