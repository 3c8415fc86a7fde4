"""Measuring ends in time for every speed of model; a clock of our own stands in for the machine's."""

import numpy as np
import pytest

from service.backends.embedded import autotune
from service.repository.manifest import Signature, TensorSpec
from service.types import Tensors

IMAGE = Signature({"image": TensorSpec("uint8", (None, 4, 4, 3))}, {})
SIGNATURES = {"image": IMAGE, "tensor": Signature({"tensor": TensorSpec("float32", (None, 4))}, {})}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(autotune, "time", clock)
    return clock


@pytest.mark.parametrize("milliseconds", [0.02, 1, 10, 100, 1000])
def test_buckets_tell_what_a_row_costs_within_their_seconds(clock: Clock, milliseconds: float) -> None:
    def call(signature: str, inputs: Tensors) -> None:
        (array,) = inputs.values()
        clock.now += len(array) * milliseconds / 1000

    began = clock.now
    found = autotune.measure_buckets(call, SIGNATURES, seconds=1.0)
    assert clock.now - began < 1.0 + 4 * milliseconds / 1000
    for by_rows in found.values():
        assert list(by_rows) == list(autotune.BUCKETS[: len(by_rows)])
        for rows, value in by_rows.items():
            assert value == pytest.approx(rows * milliseconds)
    assert set(found) == set(SIGNATURES)
    assert len(found["image"]) == len(autotune.BUCKETS) or milliseconds >= 10


def test_a_lone_call_waits_for_the_machine_to_fall_asleep(clock: Clock) -> None:
    asleep: list[float] = []
    last = clock.now

    def call() -> None:
        nonlocal last
        asleep.append(clock.now - last)
        clock.now += 0.001
        last = clock.now

    assert autotune.measure_milliseconds(call, 0.1, pause=0.005) == pytest.approx(1.0)
    assert min(asleep) >= 0.004
    asleep.clear()
    assert autotune.measure_milliseconds(call, 0.1) == pytest.approx(1.0)
    assert max(asleep) < 0.001


@pytest.mark.parametrize(
    "spec",
    [TensorSpec("string", (None,)), TensorSpec("float32", (None, None)), TensorSpec("float32", None)],
)
def test_signatures_whose_inputs_cannot_be_made_up_are_left_out(spec: TensorSpec) -> None:
    signature = Signature({"x": spec}, {})
    assert autotune.make_inputs(signature, 2) is None
    assert autotune.measure_buckets(lambda name, inputs: None, {"open": signature}, 0.1) == {}


def test_inputs_have_the_signatures_dtype_and_shape() -> None:
    inputs = autotune.make_inputs(IMAGE, 3)
    assert inputs is not None
    assert inputs["image"].shape == (3, 4, 4, 3) and inputs["image"].dtype == np.uint8


def test_every_lane_is_warm_before_a_bucket_is_measured(clock: Clock) -> None:
    """Lanes take turns: a cold one packs its weights, which takes many times as long as the call that follows."""
    warm: set[tuple[int, int]] = set()
    turns = 0

    def call(name: str, inputs: Tensors) -> None:
        nonlocal turns
        lane, turns = turns % 2, turns + 1
        rows = len(next(iter(inputs.values())))
        clock.now += 0.001 * rows if (lane, rows) in warm else 0.2
        warm.add((lane, rows))

    found = autotune.measure_buckets(call, SIGNATURES, seconds=1.0, lanes=2)
    assert all(by_rows[1] == pytest.approx(1.0) for by_rows in found.values())
