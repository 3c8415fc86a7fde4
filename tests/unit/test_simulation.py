"""The simulator: time in order, arrivals as named, a bound that is one, and the production batcher against it."""

import asyncio
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.batching import arrivals, servers
from benchmarks.batching import virtual_clock as clock
from benchmarks.batching.machines import Case, cases
from benchmarks.batching.servers import Machine
from benchmarks.batching.sweep import point
from benchmarks.batching.sweep import settings as fixed_settings
from service.batching.policy import ByDeadline

GPU = Machine("gpu", {rows: 5 + 0.2 * rows for rows in (1, 2, 4, 8, 16, 32, 64)})


def test_an_hour_passes_at_once_and_in_order() -> None:
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(sleeper("late", 3600), sleeper("early", 0.001), sleeper("middle", 60))

    clock.run(main())
    assert [name for name, _ in seen] == ["early", "middle", "late"]
    assert [at for _, at in seen] == pytest.approx([0.001, 60, 3600], abs=1e-6)


def test_waiting_for_nothing_is_an_error_and_no_hang() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="never happen"):
        clock.run(main())


@pytest.mark.parametrize(("pattern", "variation"), [("poisson", 1.0), ("bursts", 4.0)])
def test_gaps_have_the_rate_and_the_variation_they_are_named_for(pattern: str, variation: float) -> None:
    times = arrivals.PATTERNS[pattern](1000.0, 100.0, np.random.default_rng(0))
    gaps = np.diff(times)
    assert len(times) == pytest.approx(100_000, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.1)


def test_a_day_has_a_night() -> None:
    times = arrivals.diurnal(1000.0, 40.0, np.random.default_rng(0))
    counts, _ = np.histogram(times, bins=8, range=(0, 40))
    assert counts.sum() == pytest.approx(40_000, rel=0.05)
    assert counts[0] < 0.5 * counts[1] and counts[3] < 0.5 * counts[2]


def test_a_fixed_timeout_by_hand() -> None:
    """Batches of two, a timeout of 10 ms, 5.4 ms for two and 5.2 ms for one."""
    times = np.array([0.000, 0.004, 0.020])
    serve = servers.fixed_timeout
    assert serve(GPU, times, 0.0095, 2, 0.010, 8) == 2, "[0, 4] goes at 4 and ends at 9.4; [20] waits until 30"
    assert serve(GPU, times, 0.0160, 2, 0.010, 8) == 3
    assert serve(GPU, times, 0.0090, 2, 0.010, 8) == 1, "the first of the pair is late"
    assert serve(GPU, np.zeros(10), 1.0, 2, 0.0, 1) == 2, "one batch may wait, the other eight are refused"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_bound_is_the_best_of_all_schedules(seed: int) -> None:
    """Against every choice of requests and every way to cut them into batches, of neighbours or not."""
    chance = random.Random(seed)
    machine = Machine("small", {1: 4.0, 2: 5.0, 3: 7.0})
    times = sorted(round(chance.uniform(0, 0.02), 4) for _ in range(chance.randint(1, 6)))
    slo = chance.choice([0.0045, 0.007, 0.012])
    assert servers.best(machine, np.array(times), slo) == _exhaustive(machine, times, slo)


def _exhaustive(machine: Machine, times: list[float], slo: float) -> int:
    seconds = machine.seconds()

    def search(left: frozenset[int], free: float) -> int:
        most = 0
        for size in range(1, min(machine.most, len(left)) + 1):
            for batch in combinations(sorted(left), size):
                end = max([free, *(times[index] for index in batch)]) + seconds[size]
                if all(end <= times[index] + slo for index in batch):
                    most = max(most, size + search(left - set(batch), end))
        return most

    return search(frozenset(range(len(times))), 0.0)


def test_the_batcher_holds_its_own_against_a_tuned_timeout() -> None:
    case = Case(GPU, 0.030)
    unused = fixed_settings(case)[0]
    points = [
        point(case, pattern, load, 1500, 1, unused)
        for pattern in ("poisson", "bursts")
        for load in (0.7, 1.0, 1.3, 2.0)
    ]
    assert all(one.bound >= max(one.ours, one.tuned) for one in points)
    over_tuned = [one.ours / one.tuned for one in points]
    of_bound = [one.ours / one.bound for one in points]
    assert min(over_tuned) > 0.9 and sum(over_tuned) / len(points) > 1.0
    assert min(of_bound) > 0.8 and sum(of_bound) / len(points) > 0.9


def test_without_admission_overload_still_does_not_collapse() -> None:
    """TensorFlow Serving's rule, to drop a batch only when all of it has expired, answers a tenth here."""
    times = arrivals.poisson(1.5 * GPU.capacity(0.05), 0.6, np.random.default_rng(0))
    ours = servers.batcher(GPU, times, 0.05, ByDeadline(64), admission=False)
    endless = servers.fixed_timeout(GPU, times, 0.05, 64, 0.0, 10**6)
    assert ours > 0.85 * servers.best(GPU, times, 0.05)
    assert ours > 1.3 * endless


def test_the_cases_are_the_measured_machines_and_two_like_a_gpu() -> None:
    names = {case.machine.name for case in cases()}
    assert {"resnet50 int8 on cpu", "GPU-like, 5 + 0.2 n ms"} <= names
    assert all(case.slo > case.machine.seconds()[1] for case in cases())
