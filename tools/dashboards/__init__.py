"""Rules, dashboard and what proves them: promtool's unit tests, and a real Prometheus that scrapes loaded services."""
