"""The Prometheus series of security: API keys, connections, and watched files."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge


class GuardMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self._keys = counter(
            "model_server_key_predictions",
            "Predictions asked with each API key: admitted, or past the key's rate.",
            ("key", "outcome"),
        )
        self._unauthenticated = counter(
            "model_server_unauthenticated",
            "Requests refused for want of a valid API key.",
            ("protocol",),
        )
        self._refused = counter(
            "model_server_connections_refused",
            "Connections of either edge ended for what their client did, by reason.",
            ("reason",),
        )
        self._reloads = counter(
            "model_server_reloads",
            "Contents of watched files, put in force or refused.",
            ("what", "outcome"),
        )
        self._files_refused = Gauge(
            "model_server_files_refused",
            "1 while watched files hold something that cannot be used and the earlier content stays in force; with "
            "several workers, how many of them saw it.",
            ("what",),
            multiprocess_mode="livesum",
            registry=registry,
        )

    def asked(self, key: str, limited: bool) -> None:
        self._keys.labels(key, "rate_limited" if limited else "admitted").inc()

    def unauthenticated(self, protocol: str) -> None:
        self._unauthenticated.labels(protocol).inc()

    def refused_connection(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def reloaded(self, what: str, in_force: bool) -> None:
        self._reloads.labels(what, "in_force" if in_force else "refused").inc()
        self._files_refused.labels(what).set(not in_force)
