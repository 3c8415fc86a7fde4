"""The Prometheus series of routes. Their labels are configured names only, never a client's invention."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192)
_DIFFERENCES = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_RATIOS = (0.1, 0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0, 10.0)


class RouteMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._calls = counter(
            "model_server_route_calls",
            "What each target of a route was asked, by error code (OK where none). An empty target is the route's own "
            "limit, which refused.",
            ("route", "target", "code"),
        )
        self._fallbacks = counter(
            "model_server_route_fallbacks",
            "Calls that a target could not answer, so that the next was asked, by the code of its failure.",
            ("route", "target", "code"),
        )
        self._seconds = histogram(
            "model_server_route_seconds",
            "Seconds of answered calls, from the route's choice to the answer.",
            ("route",),
            buckets=_SECONDS,
        )
        self._shadows = counter(
            "model_server_shadow_calls",
            "Calls asked of a shadow too: compared; failed; dropped, as too many were under way; same, where the very "
            "version that answered was asked; incomparable, where the labels differ or there are no probabilities.",
            ("route", "target", "outcome"),
        )
        self._agreement = counter(
            "model_server_shadow_rows",
            "Rows of compared calls, by whether answer and shadow have the same most probable label.",
            ("route", "target", "agreement"),
        )
        self._differences = histogram(
            "model_server_shadow_difference",
            "How far the probabilities of answer and shadow are apart in a compared call: max "
            "and mean of all rows and labels.",
            ("route", "target", "statistic"),
            buckets=_DIFFERENCES,
        )
        self._ratios = histogram(
            "model_server_shadow_latency_ratio",
            "Seconds of the shadow divided by those of the answer: below 1 the shadow is faster.",
            ("route", "target"),
            buckets=_RATIOS,
        )
        self._valid = Gauge(
            "model_server_routes_valid",
            "1 while what is on disk is in force, 0 while that cannot be used and the last good file is.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._valid.set(1)
        self._reloads = counter(
            "model_server_routes_reloads",
            "Files of routes read: taken, or refused.",
            ("outcome",),
        )

    def asked(self, route: str, target: str, code: str) -> None:
        self._calls.labels(route, target, code).inc()

    def fell_back(self, route: str, target: str, code: str) -> None:
        self._fallbacks.labels(route, target, code).inc()

    def answered(self, route: str, seconds: float) -> None:
        self._seconds.labels(route).observe(seconds)

    def shadow(self, route: str, target: str, outcome: str) -> None:
        self._shadows.labels(route, target, outcome).inc()

    def compared(
        self, route: str, target: str, *, rows: int, agree: int, most: float, average: float, ratio: float
    ) -> None:
        self.shadow(route, target, "compared")
        self._agreement.labels(route, target, "agreed").inc(agree)
        self._agreement.labels(route, target, "disagreed").inc(rows - agree)
        self._differences.labels(route, target, "max").observe(most)
        self._differences.labels(route, target, "mean").observe(average)
        self._ratios.labels(route, target).observe(ratio)

    def reloaded(self, in_force: bool) -> None:
        self._valid.set(in_force)
        self._reloads.labels("taken" if in_force else "refused").inc()
