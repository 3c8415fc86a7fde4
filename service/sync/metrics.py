"""A sidecar's metrics: an alert on the last success finds a copy that has stopped."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from service.sync.copy import Outcome


class SyncMetrics:
    def __init__(self, source: str) -> None:
        self._registry = CollectorRegistry()
        self._passes = Counter(
            "model_sync_passes", "Looks at the source, by how they ended.", ["outcome"], registry=self._registry
        )
        self._versions = Counter(
            "model_sync_versions", "Versions brought or removed.", ["what"], registry=self._registry
        )
        self._waiting = Gauge(
            "model_sync_waiting_versions", "Versions of the source that are not whole.", registry=self._registry
        )
        self._success = Gauge(
            "model_sync_last_success_timestamp_seconds",
            "When the destination last had all that is whole at the source; 0 before the first time.",
            registry=self._registry,
        )
        Gauge("model_sync_info", "Where from.", ["source"], registry=self._registry).labels(source).set(1)
        for outcome in ("ok", "failed"):
            self._passes.labels(outcome)
        for what in ("brought", "removed"):
            self._versions.labels(what)

    def serve(self, port: int) -> None:
        """On a thread of its own, for as long as the process lives. Raises OSError."""
        start_http_server(port, registry=self._registry)

    def passed(self, outcome: Outcome) -> None:
        self._passes.labels("ok").inc()
        self._versions.labels("brought").inc(outcome.brought)
        self._versions.labels("removed").inc(outcome.removed)
        self._waiting.set(outcome.waiting)
        self._success.set(time.time())

    def failed(self) -> None:
        self._passes.labels("failed").inc()
