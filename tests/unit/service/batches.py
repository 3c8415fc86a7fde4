"""A batcher over a fake runner, and rows to send through it."""

import numpy as np

from service.backends.fake import FakeRunner
from service.batching import Batcher
from service.messages import Tensors
from service.policy import Policy, SizeAndDelay

EAGER = SizeAndDelay(max_rows=8)


def rows(*values: float, width: int = 2) -> Tensors:
    return {"x": np.repeat(np.asarray(values, np.float32)[:, None], width, axis=1)}


def batcher(runner: FakeRunner, policy: Policy = EAGER, max_queued_rows: int = 10_000) -> Batcher:
    return Batcher(runner, policy, max_queued_rows)
