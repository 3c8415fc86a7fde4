"""Schedules of open loops."""

from itertools import pairwise

import numpy as np
import pytest

from loadtest.generator.arrivals import Arrivals


@pytest.mark.parametrize("kind", ["poisson", "steady", "burst"])
def test_a_schedule_is_ascending_repeats_itself_and_has_its_rate(kind: str) -> None:
    arrivals = Arrivals(200.0, 60.0, kind, seed=4)  # type: ignore[arg-type]  # parametrized with texts, of which mypy knows no more
    starts = list(arrivals.starts())
    assert starts == list(arrivals.starts())
    assert all(earlier <= later for earlier, later in pairwise(starts)) and starts[0] >= 0 and starts[-1] < 60
    assert len(starts) == pytest.approx(12_000, rel=0.04)


def test_poisson_gaps_are_exponential_and_steady_ones_equal() -> None:
    gaps = np.diff(list(Arrivals(200.0, 60.0).starts()))
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.05)
    assert np.std(np.diff(list(Arrivals(200.0, 60.0, "steady").starts()))) < 1e-9


def test_bursts_are_five_times_the_rate() -> None:
    starts = np.array(list(Arrivals(200.0, 60.0, "burst").starts()))
    inside = (starts % 2.0 < 0.2).sum()
    assert inside / 6.0 == pytest.approx(1000.0, rel=0.06) and len(starts) == pytest.approx(12_000, rel=0.04)
