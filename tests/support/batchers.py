"""A batcher over a fake runner, and rows to send through it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import numpy as np

from benchmarks.batching.size_and_delay import SizeAndDelay
from service.backends.base import Runner
from service.backends.batch_sharing import BatchSharing
from service.backends.fake import double
from service.batching.admission import Bounds
from service.batching.batcher import Batcher
from service.batching.cost_model import Cost, Learned
from service.batching.policy import Policy
from service.host.fair_queue import Places
from service.types import ModelRef, Tensors

EAGER = SizeAndDelay(max_rows=8)


def rows(*values: float, width: int = 2) -> Tensors:
    return {"x": np.repeat(np.asarray(values, np.float32)[:, None], width, axis=1)}


def batcher(
    runner: Runner,
    policy: Policy = EAGER,
    max_queued_rows: int = 10_000,
    *,
    max_bytes: int = 2**30,
    cost: Cost | None = None,
    places: Places | None = None,
    unshared: Mapping[str, str] | None = None,
) -> Batcher:
    return Batcher(
        runner,
        policy,
        Bounds(max_queued_rows, max_bytes),
        lambda signature: cost or Learned(),
        sharing=BatchSharing(ModelRef("m", 1), unshared or {}),
        places=places,
    )


def gated() -> tuple[asyncio.Event, Callable[[str, Tensors], Awaitable[Tensors]]]:
    gate = asyncio.Event()

    async def compute(signature: str, inputs: Tensors) -> Tensors:
        await gate.wait()
        return await double(signature, inputs)

    return gate, compute


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
