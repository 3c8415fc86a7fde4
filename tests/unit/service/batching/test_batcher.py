"""The batcher: every caller settled exactly once, no crossed answers, dead work never computed."""

import asyncio
import time

import numpy as np
import pytest

from benchmarks.batching.size_and_delay import SizeAndDelay
from service.backends.fake import FakeRunner
from service.errors import DeadlineExceeded, NotReady, Overloaded
from service.types import Tensors
from tests.support.batchers import batcher, gated, rows, settle


async def test_an_idle_runner_takes_a_lone_request_at_once() -> None:
    runner = FakeRunner()
    answer = await batcher(runner).submit("serving_default", rows(3))
    assert answer.outputs["y"].tolist() == [[6, 6]] and runner.calls == [1]
    assert answer.queue < 0.05


async def test_requests_batch_while_the_runner_is_busy() -> None:
    gate, compute = gated()
    runner = FakeRunner(compute)
    target = batcher(runner)
    tasks = [asyncio.create_task(target.submit("serving_default", rows(n))) for n in range(20)]
    await settle()
    gate.set()
    await asyncio.gather(*tasks)
    assert runner.calls == [1, 8, 8, 3]


async def test_a_delay_waits_for_company_counted_from_the_oldest() -> None:
    runner = FakeRunner()
    target = batcher(runner, SizeAndDelay(max_rows=8, max_delay=0.05))
    started = time.monotonic()
    first = asyncio.create_task(target.submit("serving_default", rows(1)))
    await asyncio.sleep(0.03)
    second = asyncio.create_task(target.submit("serving_default", rows(2)))
    await asyncio.gather(first, second)
    assert runner.calls == [2]
    assert 0.045 <= time.monotonic() - started < 0.5


async def test_waiting_for_company_is_told_from_waiting_for_a_turn() -> None:
    gate, compute = gated()
    target = batcher(FakeRunner(compute), SizeAndDelay(max_rows=2, max_delay=60))
    first = asyncio.create_task(target.submit("serving_default", rows(1)))
    await asyncio.sleep(0.03)
    second = asyncio.create_task(target.submit("serving_default", rows(2)))  # a full batch, which goes
    await settle()
    others = [asyncio.create_task(target.submit("serving_default", rows(n))) for n in (3, 4)]  # one that cannot yet
    await asyncio.sleep(0.03)
    gate.set()
    alone, joined = await first, await second
    assert alone.batch >= 0.025 > joined.batch and alone.queue < alone.batch
    for answer in await asyncio.gather(*others):
        assert answer.queue >= 0.025 and answer.batch == 0


async def test_a_full_batch_does_not_wait() -> None:
    runner = FakeRunner()
    target = batcher(runner, SizeAndDelay(max_rows=2, max_delay=60))
    await asyncio.gather(*(target.submit("serving_default", rows(n)) for n in range(4)))
    assert runner.calls == [2, 2]


async def test_other_shapes_dtypes_signatures_and_outputs_never_share_a_batch() -> None:
    gate, compute = gated()
    runner = FakeRunner(compute)
    target = batcher(runner)
    first = asyncio.create_task(target.submit("serving_default", rows(0)))
    await settle()
    others = [
        target.submit("serving_default", rows(1)),
        target.submit("serving_default", rows(1, width=3)),
        target.submit("serving_default", {"x": np.ones((1, 2), np.float64)}),
        target.submit("other", rows(1)),
        target.submit("serving_default", rows(1), ("y",)),
    ]
    tasks = [asyncio.create_task(other) for other in others]
    await settle()
    gate.set()
    await asyncio.gather(first, *tasks)
    assert runner.calls == [1] * 6


async def test_a_request_that_is_not_rows_runs_alone() -> None:
    gate, compute = gated()
    runner = FakeRunner(compute)
    target = batcher(runner)
    tasks = [asyncio.create_task(target.submit("serving_default", rows(1, 2), shared=False)) for _ in range(3)]
    await settle()
    gate.set()
    await asyncio.gather(*tasks)
    assert runner.calls == [2, 2, 2]


async def test_a_request_larger_than_a_batch_is_not_split() -> None:
    runner = FakeRunner()
    answer = await batcher(runner).submit("serving_default", rows(*range(20)))
    assert runner.calls == [20] and answer.outputs["y"][:, 0].tolist() == [2 * n for n in range(20)]


async def test_cancelled_requests_never_reach_the_model() -> None:
    gate, compute = gated()
    runner = FakeRunner(compute)
    target = batcher(runner)
    first = asyncio.create_task(target.submit("serving_default", rows(0)))
    await settle()
    waiting = [asyncio.create_task(target.submit("serving_default", rows(n))) for n in range(4)]
    await settle()
    assert target.queued_rows == 4
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert target.queued_rows == 0
    gate.set()
    await first
    assert runner.calls == [1]


async def test_cancelling_one_in_flight_leaves_its_neighbours() -> None:
    gate, compute = gated()
    target = batcher(FakeRunner(compute), SizeAndDelay(max_rows=2, max_delay=60))
    lost = asyncio.create_task(target.submit("serving_default", rows(1)))
    kept = asyncio.create_task(target.submit("serving_default", rows(2)))
    await settle()
    lost.cancel()
    await settle()
    gate.set()
    assert (await kept).outputs["y"].tolist() == [[4, 4]]
    with pytest.raises(asyncio.CancelledError):
        await lost


async def test_expired_requests_are_dropped_before_dispatch() -> None:
    gate, compute = gated()
    runner = FakeRunner(compute)
    target = batcher(runner)
    first = asyncio.create_task(target.submit("serving_default", rows(0)))
    await settle()
    late = asyncio.create_task(target.submit("serving_default", rows(1), deadline=time.monotonic() + 0.01))
    alive = asyncio.create_task(target.submit("serving_default", rows(2), deadline=time.monotonic() + 60))
    await asyncio.sleep(0.03)
    gate.set()
    await asyncio.gather(first, alive)
    with pytest.raises(DeadlineExceeded):
        await late
    assert runner.calls == [1, 1]


async def test_the_queue_is_bounded_in_rows() -> None:
    gate, compute = gated()
    target = batcher(FakeRunner(compute), max_queued_rows=3)
    tasks = [asyncio.create_task(target.submit("serving_default", rows(n))) for n in range(4)]
    await settle()
    with pytest.raises(Overloaded, match="3 rows wait"):
        await target.submit("serving_default", rows(9))
    gate.set()
    await asyncio.gather(*tasks)
    assert (await target.submit("serving_default", rows(9))).outputs["y"].tolist() == [[18, 18]]


async def test_drain_answers_what_waits_and_refuses_what_comes() -> None:
    runner = FakeRunner()
    target = batcher(runner, SizeAndDelay(max_rows=8, max_delay=60))
    task = asyncio.create_task(target.submit("serving_default", rows(1)))
    await settle()
    await asyncio.wait_for(target.drain(), 5)
    assert (await task).outputs["y"].tolist() == [[2, 2]]
    with pytest.raises(NotReady):
        await target.submit("serving_default", rows(2))


@pytest.mark.parametrize("shape", [(), (1,), (2,), (5, 3)], ids=str)
async def test_who_shared_a_batch_without_rows_is_answered_alone_and_nobody_shares_again(
    shape: tuple[int, ...],
) -> None:
    async def always(signature: str, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"] * 2, "other": np.full(shape, inputs["x"][0, 0])}

    runner = FakeRunner(always)
    target = batcher(runner, SizeAndDelay(max_rows=3, max_delay=60))
    answers = await asyncio.gather(*(target.submit("serving_default", rows(n)) for n in range(3)))
    assert runner.calls == [3, 1, 1, 1]
    for n, answer in enumerate(answers):
        assert answer.outputs["y"].tolist() == [[2 * n, 2 * n]]
        assert answer.outputs["other"].shape == shape and (answer.outputs["other"] == n).all(), "its own, whole"
    assert not target.sharing.allows("serving_default") and "'other'" in target.sharing.unshared["serving_default"]
    await asyncio.wait_for(asyncio.gather(*(target.submit("serving_default", rows(n)) for n in range(2))), 5)
    assert runner.calls[4:] == [1, 1], "nobody is waited for any more"


async def test_what_already_waits_to_share_goes_alone_once_sharing_has_stopped() -> None:
    gate, released = gated()

    async def first_two(signature: str, inputs: Tensors) -> Tensors:
        return {"y": (await released(signature, inputs))["y"][:2]}

    runner = FakeRunner(first_two)
    target = batcher(runner, SizeAndDelay(max_rows=3, max_delay=60))
    calls = [asyncio.create_task(target.submit("serving_default", rows(n))) for n in range(8)]
    await settle()
    gate.set()
    answers = await asyncio.wait_for(asyncio.gather(*calls), 5)
    assert [answer.outputs["y"].tolist() for answer in answers] == [[[2 * n, 2 * n]] for n in range(8)]
    assert runner.calls == [3, *[1] * 8]


async def test_a_lone_answer_without_its_rows_is_right_and_a_warning() -> None:
    async def constant(signature: str, inputs: Tensors) -> Tensors:
        return {"y": np.zeros((2, 2))}

    target = batcher(FakeRunner(constant))
    answer = await target.submit("serving_default", rows(1))
    assert answer.outputs["y"].shape == (2, 2) and not target.sharing.allows("serving_default")


async def test_other_signatures_and_who_wants_to_be_alone_are_left_alone() -> None:
    runner = FakeRunner(slots=1)
    target = batcher(runner, SizeAndDelay(max_rows=2, max_delay=60), unshared={"apart": "it says so"})
    await asyncio.gather(*(target.submit("apart", rows(n, n)) for n in range(3)))
    await asyncio.gather(*(target.submit("serving_default", rows(n), alone=True) for n in range(2)))
    assert runner.calls == [2, 2, 2, 1, 1]
    await asyncio.gather(*(target.submit("serving_default", rows(n)) for n in range(2)))
    assert runner.calls[5:] == [2]


async def test_a_batch_that_nobody_waits_for_is_stopped() -> None:
    """An upstream may hang for ever: its slot, and a drain, must not hang with it."""
    _, hangs = gated()
    runner = FakeRunner(hangs)
    target = batcher(runner, SizeAndDelay(max_rows=2, max_delay=60))
    callers = [asyncio.create_task(target.submit("serving_default", rows(n))) for n in range(2)]
    await settle()
    callers[0].cancel()
    await settle()
    assert runner.running == 1, "one caller still waits"
    callers[1].cancel()
    await settle()
    assert runner.running == 0
    await asyncio.wait_for(target.drain(), 1)


async def test_a_batch_is_bounded_in_bytes() -> None:
    gate, compute = gated()
    runner = FakeRunner(compute)
    target = batcher(runner)
    wide = {"x": np.zeros((1, 2_500_000), np.float32)}  # 10 MB each
    tasks = [asyncio.create_task(target.submit("serving_default", wide)) for _ in range(3)]
    await settle()
    gate.set()
    await asyncio.gather(*tasks)
    assert runner.calls == [1, 1, 1]


async def test_a_request_that_cannot_share_waits_for_nobody() -> None:
    target = batcher(FakeRunner(), SizeAndDelay(max_rows=8, max_delay=60))
    answer = await asyncio.wait_for(target.submit("serving_default", rows(1), shared=False), 5)
    assert answer.outputs["y"].tolist() == [[2, 2]]
