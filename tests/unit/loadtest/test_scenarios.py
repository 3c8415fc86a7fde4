"""How long loads become."""

import pytest

from loadtest.generator.jobs import MLPerf
from loadtest.scenarios import as_long_as_others


@pytest.mark.parametrize(
    ("rate", "seconds", "queries"), [(0.8, 4.0, 3), (0.1, 2.0, 1), (20.0, 4.0, 80), (300.0, 1.0, 100)]
)
def test_loadgens_server_scenario_asks_for_no_more_than_fits(rate: float, seconds: float, queries: int) -> None:
    load = as_long_as_others(MLPerf("Server", 1.0, rate, 0.1, "logs"), seconds)
    assert (load.seconds, load.least_queries, load.rate) == (seconds, queries, rate)
