"""The batcher under a storm: every caller settled exactly once, no crossed answers."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.batching.size_and_delay import SizeAndDelay
from service.backends.fake import FakeRunner
from service.batching.batcher import Batcher
from service.errors import BackendFailed, InvalidInput
from service.types import Tensors
from tests.support.batchers import batcher, rows

pytestmark = pytest.mark.alone


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32), slots=st.integers(1, 3), max_rows=st.integers(1, 40), delay=st.sampled_from([0, 0.003])
)
def test_a_thousand_callers_with_cancels_and_failures(seed: int, slots: int, max_rows: int, delay: float) -> None:
    """Each caller gets its own rows, its own failure or its own cancellation, exactly once."""
    chance = random.Random(seed)
    refused = {caller for caller in range(1000) if chance.random() < 0.02}
    computed: list[int] = []

    async def compute(signature: str, inputs: Tensors) -> Tensors:
        await asyncio.sleep(chance.random() * 0.002)
        callers = set(inputs["x"][:, 0].astype(int).tolist())
        computed.extend(callers)
        if callers & refused:
            raise InvalidInput("one of these rows is to blame")
        if chance.random() < 0.05:
            raise RuntimeError("the model fell over")
        return {"y": inputs["x"] * 2}

    async def call(target: Batcher, caller: int) -> str:
        await asyncio.sleep(chance.random() * 0.05)
        size, width = chance.choice([1, 1, 1, 2, 5]), chance.choice([1, 2, 3])
        try:
            answer = await target.submit("serving_default", rows(*[caller] * size, width=width))
        except InvalidInput:
            assert caller in refused, "somebody else's bad row failed this caller"
            return "refused"
        except BackendFailed:
            return "failed"
        assert caller not in refused
        assert answer.outputs["y"].shape == (size, width)
        assert (answer.outputs["y"] == 2 * caller).all(), "crossed answers"
        return "answered"

    async def scenario() -> None:
        runner = FakeRunner(compute, slots=slots)
        target = batcher(runner, SizeAndDelay(max_rows, delay))
        tasks = [asyncio.create_task(call(target, caller)) for caller in range(1000)]
        cancelled = []
        for task in chance.sample(tasks, 200):
            await asyncio.sleep(0.0002)
            if task.cancel():
                cancelled.append(task)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await target.drain()
        assert target.queued_rows == 0
        for task, result in zip(tasks, results, strict=True):
            assert result in ("answered", "failed", "refused") or (
                isinstance(result, asyncio.CancelledError) and task in cancelled
            ), result
        assert results.count("answered") > 300
        assert max(runner.calls) <= max(max_rows, 5)

    asyncio.run(scenario())
