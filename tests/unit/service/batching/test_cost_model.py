"""What a batch takes: from a profile, corrected; or learned."""

import pytest

from service.batching.cost_model import Learned, Profiled, cost


def test_a_profile_is_read_between_its_sizes_and_beyond_them() -> None:
    profiled = Profiled({1: 10.0, 2: 12.0, 4: 16.0})
    assert profiled.seconds(1) == pytest.approx(0.010)
    assert profiled.seconds(3) == pytest.approx(0.014)
    assert profiled.seconds(8) == pytest.approx(0.032)


def test_a_slower_machine_makes_all_sizes_dearer_and_recovers() -> None:
    profiled = Profiled({1: 10.0, 8: 40.0})
    for _ in range(100):
        profiled.observe(1, 0.020)
    assert profiled.seconds(8) == pytest.approx(0.080, rel=0.01)
    for _ in range(200):
        profiled.observe(8, 0.040)
    assert profiled.seconds(1) == pytest.approx(0.010, rel=0.01)


def test_one_hiccup_is_not_believed() -> None:
    profiled = Profiled({1: 10.0})
    profiled.observe(1, 60.0)
    assert profiled.seconds(1) < 0.05


def test_a_batch_of_enough_rows_is_the_smallest_that_gains_nothing_more() -> None:
    assert Profiled({1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0}).enough == 1, "a row costs the same in every batch"
    assert Profiled({1: 5.0, 2: 5.2, 4: 5.6, 8: 6.4}).enough == 8, "the start costs nearly all"
    assert Profiled({1: 10.0, 2: 16.0, 4: 31.9, 8: 64.0}).enough == 2


def test_a_line_is_learned_from_batches_of_two_sizes() -> None:
    learned = cost(None)
    assert isinstance(learned, Learned) and learned.seconds(32) == 0.0, "unknown is worth a try"
    for _ in range(200):
        learned.observe(2, 0.007)
        learned.observe(10, 0.015)
    assert learned.seconds(1) == pytest.approx(0.006, rel=0.05)
    assert learned.seconds(20) == pytest.approx(0.025, rel=0.05)


def test_one_size_alone_is_taken_as_a_fixed_cost() -> None:
    learned = Learned()
    for _ in range(10):
        learned.observe(4, 0.010)
    assert learned.seconds(1) == learned.seconds(16) == pytest.approx(0.010)
