"""A race of engines, run by a clock that only calls move."""

import math
from collections.abc import Callable

import pytest

from service.backends.embedded import race
from service.errors import BackendFailed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []

    def make_call(self, name: str, alone: float, many: float) -> Callable[[int], None]:
        """A call that takes `alone` seconds for one row, and `many` for more."""

        def call(rows: int) -> None:
            self.calls.append((name, rows))
            self.now += alone if rows == 1 else many

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("service.backends.embedded.race.time.perf_counter", lambda: made.now)
    monkeypatch.setattr("service.backends.embedded.race.time.sleep", lambda _: None)
    return made


def test_engines_take_turns_and_each_is_measured_alone_and_in_a_batch(clock: Clock) -> None:
    calls = {"litert": clock.make_call("litert", 0.010, 0.080), "other": clock.make_call("other", 0.006, 0.040)}
    costs, failed = race.measure_in_turns(calls, 1.0)
    assert not failed
    assert costs["litert"] == pytest.approx({1: 10, race.MANY: 80})
    assert costs["other"] == pytest.approx({1: 6, race.MANY: 40})
    assert {(one[0], other[0]) for one, other in zip(clock.calls, clock.calls[1:], strict=False)} == {
        ("litert", "other"),
        ("other", "litert"),
    }
    assert clock.now < 1.5


def test_a_large_network_runs_one_batch_on_each_engine(clock: Clock) -> None:
    calls = {name: clock.make_call(name, 0.25, 2.0) for name in ("litert", "other")}
    costs, _ = race.measure_in_turns(calls, 1.0)
    assert costs["other"] == costs["litert"] == pytest.approx({1: 250, race.MANY: 2000})
    assert clock.calls.count(("other", race.MANY)) == 1


def test_who_is_hopeless_with_one_image_runs_no_batch(clock: Clock) -> None:
    calls = {"litert": clock.make_call("litert", 0.2, 1.6), "other": clock.make_call("other", 0.03, 0.24)}
    costs, _ = race.measure_in_turns(calls, 1.0)
    assert set(costs["litert"]) == {1}
    assert ("litert", race.MANY) not in clock.calls
    assert race.rank(costs, race.LITERT) == ["other", "litert"]


def test_an_engine_that_fails_does_not_take_part(clock: Clock) -> None:
    def fail(rows: int) -> None:
        raise BackendFailed("no such kernel")

    costs, failed = race.measure_in_turns({"litert": clock.make_call("litert", 0.01, 0.08), "other": fail}, 1.0)
    assert set(costs) == {"litert"}
    assert failed == {"other": "no such kernel"}
    assert race.measure_in_turns({"other": fail}, 1.0) == ({}, {"other": "no such kernel"})
    assert race.measure_in_turns({}, 1.0) == ({}, {})


@pytest.mark.parametrize(
    ("alone", "many", "first"),
    [
        (10.0, 80.0, "litert"),  # as fast
        (9.5, 76.0, "litert"),  # faster, and not by a tenth
        (9.0, 72.0, "other"),
        (6.0, 100.0, "other"),  # the geometric mean
        (5.0, 200.0, "litert"),
    ],
)
def test_another_engine_takes_litert_s_place_where_it_is_faster_by_a_tenth(
    alone: float, many: float, first: str
) -> None:
    costs = {"other": {1: alone, race.MANY: many}, race.LITERT: {1: 10.0, race.MANY: 80.0}}
    assert race.rank(costs, race.LITERT)[0] == first


def test_costs_are_told_in_a_few_words() -> None:
    assert race.describe_costs({1: 5.84, race.MANY: 44.8}) == "5.84 ms alone, 5.6 ms an image in 8s"
    assert race.describe_costs({1: 5.84}) == "5.84 ms alone"
    assert race.find_cost({1: 4.0, race.MANY: 8.0}) == 2.0
    assert race.find_cost({1: 4.0}) == math.inf
