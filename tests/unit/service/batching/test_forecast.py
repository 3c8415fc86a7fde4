"""What a batcher promises: how large its batches, how long its queues take, whom it gives up."""

from math import inf

import pytest

from service.batching.admission import choose_batch, count_sacrificed, find_largest_batch, forecast_seconds
from service.batching.cost_model import Learned, Profiled

GPU = Profiled({rows: 5 + 0.2 * rows for rows in (1, 2, 4, 8, 16, 32, 64)})  # ms: the start costs nearly all


def test_few_arrivals_call_for_small_batches_and_many_for_large_ones() -> None:
    assert choose_batch(GPU, 64, 0.05, rate=100, slots=1) <= 4
    assert choose_batch(GPU, 64, 0.05, rate=10_000, slots=1) == 64


def test_a_tight_deadline_calls_for_batches_that_leave_time_to_wait() -> None:
    assert find_largest_batch(GPU, 64, 0.05, slots=1) == 64
    size = find_largest_batch(GPU, 64, 0.03, slots=1)
    assert size < 64 and 2 * GPU.seconds(size) <= 0.03
    assert find_largest_batch(GPU, 64, 0.001, slots=1) == 1


def test_an_old_head_is_given_up_where_it_would_make_the_others_late() -> None:
    """Two requests are in time only for a batch of three (5.6 ms); the sixty behind them for one of 60 (17 ms)."""
    slack = [(1, 0.0057)] * 2 + [(1, 0.018)] * 60
    assert count_sacrificed(slack, GPU, 64) == 2
    assert count_sacrificed([(1, 0.0057)] * 2, GPU, 64) == 0, "there is nobody behind them"
    assert count_sacrificed([(1, 0.0057)] * 2 + [(1, 1.0)] * 60, GPU, 64) in (0, 2), "all are in time either way"
    assert count_sacrificed([(1, 0.05)] * 62, GPU, 64) == 0


def test_only_who_has_a_deadline_is_ever_given_up() -> None:
    slack = [(1, inf), *[(1, 0.0057)] * 2, *[(1, 0.018)] * 60]
    assert count_sacrificed(slack, GPU, 64) == 0
    assert count_sacrificed([(100, inf), *[(1, inf)] * 60], GPU, 64) == 0, "larger than any batch, and yet it runs"


def test_what_is_ahead_is_waited_for_in_batches() -> None:
    slow = Profiled({1: 10.0, 2: 20.0, 4: 40.0})
    assert forecast_seconds(slow, 1, before=0, free=0.0, most=1, allowed=inf, rate=1, slots=1) == pytest.approx(0.010)
    assert forecast_seconds(slow, 1, before=6, free=0.005, most=1, allowed=inf, rate=1, slots=2) == pytest.approx(0.045)
    assert forecast_seconds(slow, 2, before=5, free=0.0, most=4, allowed=inf, rate=1, slots=1) == pytest.approx(0.070)


def test_a_flood_is_let_in_only_where_it_fills_its_batch() -> None:
    calm = forecast_seconds(GPU, 1, before=0, free=0.0, most=64, allowed=0.03, rate=100, slots=1)
    flood = forecast_seconds(GPU, 1, before=0, free=0.0, most=64, allowed=0.03, rate=20_000, slots=1)
    assert calm == pytest.approx(GPU.seconds(1)) and flood == pytest.approx(GPU.seconds(64))


def test_an_unknown_cost_promises_everything() -> None:
    assert forecast_seconds(Learned(), 1, before=100, free=0.0, most=8, allowed=0.01, rate=1000, slots=1) == 0.0
