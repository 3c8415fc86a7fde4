"""Every Prometheus series of the service, in one registry of its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from service.messages import ModelRef, PredictResult

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
OK = "OK"


class Metrics:
    """Names, labels and units are the public interface of dashboards: add, do not rename."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a timestamp series beside every one of ours, which nobody plots
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "model_server_requests",
            "Predict calls, by the version that answered (empty where none did) and the error code (OK where none).",
            ("model", "version", "protocol", "code"),
            registry=self._registry,
        )
        self._stages = Histogram(
            "model_server_stage_seconds",
            "Seconds of successful calls by stage: decode, queue, compute, and total.",
            ("model", "version", "stage"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batch_rows = Histogram(
            "model_server_batch_rows",
            "Rows of each batch that went to the model.",
            ("model", "version"),
            buckets=_ROWS,
            registry=self._registry,
        )
        self._queue_rows = Gauge(
            "model_server_queue_rows", "Rows waiting for a free slot.", ("model", "version"), registry=self._registry
        )
        self._states = Gauge(
            "model_server_version_state",
            "1 for the state a version is in.",
            ("model", "version", "state"),
            registry=self._registry,
        )
        self._in_flight = Gauge("model_server_requests_in_flight", "Predict calls under way.", registry=self._registry)

    def started(self) -> None:
        self._in_flight.inc()

    def succeeded(self, protocol: str, result: PredictResult) -> None:
        self._in_flight.dec()
        model, version = result.ref.name, str(result.ref.version)
        self._requests.labels(model, version, protocol, OK).inc()
        for stage, seconds in result.timings.stages().items():
            self._stages.labels(model, version, stage).observe(seconds)

    def failed(self, protocol: str, code: str, ref: ModelRef | None) -> None:
        """`ref` None where the model is not served: a client's invention must not become a label."""
        self._in_flight.dec()
        version = "" if ref is None or ref.version is None else str(ref.version)
        self._requests.labels(ref.name if ref else "", version, protocol, code).inc()

    def batch(self, ref: ModelRef, rows: int) -> None:
        self._batch_rows.labels(ref.name, str(ref.version)).observe(rows)

    def loaded(self, ref: ModelRef, queued_rows: Callable[[], int]) -> None:
        """Starts to report a version's queue, read whenever somebody scrapes."""
        self._queue_rows.labels(ref.name, str(ref.version)).set_function(queued_rows)

    def unloaded(self, ref: ModelRef) -> None:
        self._queue_rows.remove(ref.name, str(ref.version))

    def state(self, ref: ModelRef, state: str, previous: str | None) -> None:
        if previous is not None and previous != state:
            self._states.labels(ref.name, str(ref.version), previous).set(0)
        self._states.labels(ref.name, str(ref.version), state).set(1)

    def page(self) -> tuple[bytes, str]:
        """The text exposition and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
