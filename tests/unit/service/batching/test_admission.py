"""Who is let in, and whose turn it is: deadlines, bounds, company worth waiting for, models that share the cores."""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, suppress

import numpy as np
import pytest

from benchmarks.batching.size_and_delay import SizeAndDelay
from service.backends.embedded.threads import run_timed
from service.backends.fake import FakeRunner, double
from service.batching.admission import Bounds, Ticket
from service.batching.batcher import Batcher
from service.batching.cost_model import Learned, Profiled
from service.batching.policy import ByDeadline
from service.errors import Overloaded
from service.host.fair_queue import Places
from service.types import Tensors
from tests.support.batchers import batcher, gated, rows, settle

SLOW = Profiled({1: 100.0, 2: 200.0, 4: 400.0, 8: 800.0})


async def test_what_cannot_be_in_time_is_refused_at_the_door_with_an_honest_number() -> None:
    gate, compute = gated()
    target = batcher(FakeRunner(compute), cost=SLOW)
    tasks = [asyncio.create_task(target.submit("serving_default", rows(n))) for n in range(5)]
    await settle()  # one runs for 100 ms, four wait
    with pytest.raises(Overloaded, match="longer deadline") as refused, target.admit(time.monotonic() + 0.3):
        pass
    assert 200 < refused.value.detail["retry_after_ms"] < 800
    with target.admit(time.monotonic() + 10.0), target.admit(None):
        pass
    gate.set()
    await asyncio.gather(*tasks)


async def test_an_idle_model_always_tries() -> None:
    """Else one slow batch, wrongly taken for what every batch costs, would be the last."""
    target = batcher(FakeRunner(), cost=SLOW)
    deadline = time.monotonic() + 0.05
    with target.admit(deadline) as ticket:
        answer = await target.submit("serving_default", rows(1), deadline=deadline, ticket=ticket)
    assert answer.outputs["y"].tolist() == [[2, 2]]


async def test_who_is_let_in_counts_until_it_is_through() -> None:
    """A thousand requests that are still being decoded are as much ahead of the next one as a thousand that wait."""
    target = batcher(FakeRunner(), cost=SLOW)
    with ExitStack() as tickets:
        for _ in range(10):
            tickets.enter_context(target.admit(None))
        with pytest.raises(Overloaded), target.admit(time.monotonic() + 0.5):
            pass
    with target.admit(time.monotonic() + 0.5):
        pass


async def test_the_queue_is_bounded_in_bytes() -> None:
    gate, compute = gated()
    target = batcher(FakeRunner(compute), max_bytes=100)
    large = {"x": np.zeros((1, 20), np.float32)}  # 80 bytes
    tasks = [asyncio.create_task(target.submit("serving_default", large)) for _ in range(2)]
    await settle()
    with pytest.raises(Overloaded, match="MB wait"):
        await target.submit("serving_default", large)
    gate.set()
    await asyncio.gather(*tasks)


async def test_a_batch_grows_only_as_long_as_everybody_in_it_is_in_time() -> None:
    gate, compute = gated()
    runner = FakeRunner(compute)
    target = batcher(runner, SizeAndDelay(8), cost=Profiled({rows: 100.0 + 100 * rows for rows in (1, 2, 4, 8)}))
    first = asyncio.create_task(target.submit("serving_default", rows(0)))
    await settle()
    deadline = time.monotonic() + 0.55  # a batch of 4 takes 500 ms, one of 5 takes 600
    tasks = [asyncio.create_task(target.submit("serving_default", rows(n), deadline=deadline)) for n in range(6)]
    await settle()
    gate.set()
    await asyncio.gather(first, *tasks, return_exceptions=True)
    assert runner.calls[:2] == [1, 4]


@pytest.mark.alone
async def test_a_held_batch_goes_when_its_company_has_come() -> None:
    """The start costs nearly all, and requests come fast: the second one is worth waiting for."""
    runner = FakeRunner()
    gpu = Profiled({1: 400.0, 2: 401.0, 4: 403.0})
    target = batcher(runner, ByDeadline(4), cost=gpu)
    deadline = time.monotonic() + 60
    tasks = []
    for number in range(4):
        tasks.append(asyncio.create_task(target.submit("serving_default", rows(number), deadline=deadline)))
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    assert len(runner.calls) < 4


async def test_a_lone_request_is_not_held() -> None:
    runner = FakeRunner()
    target = batcher(runner, ByDeadline(8), cost=Profiled({1: 400.0, 2: 401.0, 8: 410.0}))
    answer = await target.submit("serving_default", rows(1), deadline=time.monotonic() + 60)
    assert answer.queue < 0.1


async def test_a_hot_model_does_not_starve_another() -> None:
    """Both want the one core: the quiet model's lone request waits for one batch of the hot one, not for its queue."""
    ended: list[str] = []

    def computing(name: str) -> Callable[[str, Tensors], Awaitable[Tensors]]:
        async def compute(signature: str, inputs: Tensors) -> Tensors:
            await asyncio.sleep(0.002)
            ended.append(name)
            return await double(signature, inputs)

        return compute

    places = Places(1)
    hot = batcher(FakeRunner(computing("hot")), SizeAndDelay(1), cost=Profiled({1: 2.0}), places=places)
    quiet = batcher(FakeRunner(computing("quiet")), SizeAndDelay(1), cost=Profiled({1: 2.0}), places=places)
    flood = [asyncio.create_task(hot.submit("serving_default", rows(n))) for n in range(50)]
    await settle()
    await quiet.submit("serving_default", rows(1))
    assert ended.index("quiet") <= 2
    await asyncio.gather(*flood)
    assert len(ended) == 51


async def test_a_cancelled_request_leaves_the_line_for_the_core() -> None:
    gate, compute = gated()
    places = Places(1)
    holder = batcher(FakeRunner(compute), places=places)
    other = batcher(FakeRunner(), places=places)
    third = batcher(FakeRunner(), places=places)
    running = asyncio.create_task(holder.submit("serving_default", rows(0)))
    await settle()
    waiting = asyncio.create_task(other.submit("serving_default", rows(1)))
    last = asyncio.create_task(third.submit("serving_default", rows(2)))
    await settle()
    waiting.cancel()
    await settle()
    gate.set()
    await asyncio.wait_for(asyncio.gather(running, last), 5)


class _Counting:
    def __init__(self) -> None:
        self.rows = self.dead = 0
        self.dropped_rows: Counter[str] = Counter()

    def batch(self, rows: int, dead: int) -> None:
        self.rows, self.dead = self.rows + rows, self.dead + dead

    def dropped(self, reason: str, rows: int) -> None:
        self.dropped_rows[reason] += rows


async def test_no_row_is_dead_on_dispatch_though_a_third_of_all_callers_leave() -> None:
    async def compute(signature: str, inputs: Tensors) -> Tensors:
        await asyncio.sleep(0.002)
        return await double(signature, inputs)

    seen, chance = _Counting(), random.Random(1)
    target = Batcher(
        FakeRunner(compute, slots=2), ByDeadline(8), Bounds(10_000, 2**30), lambda _: Learned(), events=seen
    )

    async def call() -> None:
        await asyncio.sleep(chance.random())
        deadline = time.monotonic() + chance.choice([0.004, 1.0])
        task = asyncio.create_task(target.submit("serving_default", rows(1), deadline=deadline))
        if chance.random() < 0.3:
            await asyncio.sleep(0)
            await asyncio.sleep(chance.random() * 0.02)
            task.cancel()
        await asyncio.wait([task])
        task.cancelled() or task.exception()

    await asyncio.gather(*(call() for _ in range(4000)))
    assert seen.dead == 0
    assert seen.dropped_rows["cancelled"] > 0 and seen.dropped_rows["expired"] > 0
    # A batch that all its callers leave before it starts is neither run nor dropped.
    assert 3500 <= seen.rows + sum(seen.dropped_rows.values()) <= 4000


async def test_a_late_event_loop_is_no_cost_of_the_model() -> None:
    """Learned as one, it would keep everybody out for as long as the refusals keep the loop busy."""
    known = Profiled({1: 1.0})
    loop = asyncio.get_running_loop()

    def compute(inputs: Tensors) -> Tensors:
        loop.call_soon_threadsafe(time.sleep, 0.01)  # before the answer is taken
        return {"y": inputs["x"]}

    async def in_thread(signature: str, inputs: Tensors) -> Tensors:
        return await asyncio.to_thread(run_timed, compute, inputs)

    target = batcher(FakeRunner(in_thread), cost=known)
    for number in range(60):
        await target.submit("serving_default", rows(number))
    assert known.seconds(1) < 0.002


async def test_a_refusal_ahead_of_admission_says_the_same_and_holds_until_something_ends() -> None:
    gate, compute = gated()
    clock = [100.0]
    target = Batcher(
        FakeRunner(compute), SizeAndDelay(8), Bounds(1000, 2**30), lambda signature: SLOW, clock=lambda: clock[0]
    )
    assert target.overloaded(100.05) is None, "an idle model always tries"
    tasks = [asyncio.create_task(target.submit("serving_default", rows(n))) for n in range(5)]
    await settle()
    ahead = target.overloaded(100.3)
    with pytest.raises(Overloaded) as refused, target.admit(100.3):
        pass
    assert ahead is not None and ahead.detail == refused.value.detail and ahead.message == refused.value.message
    assert target.overloaded(110.0) is None and target.overloaded(None) is None
    clock[0] += 0.1
    again = target.overloaded(100.4)
    assert again is not None and again.detail["retry_after_ms"] == ahead.detail["retry_after_ms"] - 100
    gate.set()
    await asyncio.gather(*tasks)
    assert target.overloaded(clock[0] + 0.05) is None, "what was forecast holds until it has changed"


async def test_a_client_that_takes_its_time_to_send_makes_nobody_elses_forecast_longer() -> None:
    clock = [0.0]
    target = Batcher(FakeRunner(), SizeAndDelay(8), Bounds(1000, 2**30), lambda signature: SLOW, clock=lambda: clock[0])
    for _ in range(100):
        with target.admit(clock[0] + 1.0) as ticket:
            clock[0] += 10.0
            ticket.reading = 10.0
    with target.admit(None):
        assert target.overloaded(clock[0] + 0.5) is None


async def test_what_lies_around_the_model_limits_who_is_let_in_once_it_has_made_somebody_late() -> None:
    """A model of a millisecond, behind an event loop that takes five for each request: 30 at once are too many."""
    clock = [0.0]
    quick = Profiled({1: 1.0, 8: 8.0})
    target = Batcher(
        FakeRunner(), SizeAndDelay(8), Bounds(1000, 2**30), lambda signature: quick, clock=lambda: clock[0]
    )

    def storm(most: int) -> int:
        """How many of so many requests are let in at once; the loop then gets through with all of them."""
        inside = deque[AbstractContextManager[Ticket]]()
        with suppress(Overloaded):
            while len(inside) < most:
                one = target.admit(clock[0] + 0.1)
                one.__enter__()
                inside.append(one)
        count = len(inside)
        while inside:
            clock[0] += 0.005
            inside.popleft().__exit__(None, None, None)
        return count

    assert storm(30) == 30
    let_in = [storm(30) for _ in range(40)]
    assert max(let_in[10:]) <= 20, "what can be answered within 100 ms"
    assert min(let_in[10:]) >= 10, "nor are there fewer than the loop has time for"


async def test_a_deadline_that_nobody_could_meet_keeps_nobody_else_out() -> None:
    clock = [0.0]
    target = Batcher(
        FakeRunner(slots=4), SizeAndDelay(8), Bounds(1000, 2**30), lambda signature: Learned(), clock=lambda: clock[0]
    )

    def ask(count: int, allowed: float, took: float) -> None:
        for _ in range(count):
            with target.admit(clock[0] + allowed):
                clock[0] += took

    ask(100, 0.1, 0.2)
    ask(300, 0.1, 0.001)
    before = target._limit.seconds(100)
    with ExitStack() as patient:
        for _ in range(4):
            patient.enter_context(target.admit(None))
        for _ in range(300):
            with ExitStack() as hasty:
                for _ in range(4):  # two a slot are always let in
                    hasty.enter_context(target.admit(clock[0] + 0.005))
                clock[0] += 0.006
    assert 0 < target._limit.seconds(100) <= before


async def test_those_let_pass_in_one_turn_stand_ahead_of_each_other() -> None:
    """A hundred requests that are read at once: nobody is admitted before all of them have been looked at."""
    target = batcher(FakeRunner(), cost=SLOW)
    deadline = time.monotonic() + 0.55
    passed = [target.overloaded(deadline) is None for _ in range(100)]
    assert passed[:3] == [True] * 3 and not any(passed[10:])
    await settle()
    assert target.overloaded(time.monotonic() + 0.55) is None, "none of them came in, and their places are free again"
