"""What a server does with arrivals: ours, which is the production batcher, and what it is compared with.

Each returns the number of requests that were answered within `slo` seconds of their arrival.
"""

import asyncio
import heapq
import random
from collections import deque
from dataclasses import dataclass

import numpy as np

from benchmarks.batching import virtual_clock as clock
from service.batching.admission import Bounds
from service.batching.batcher import Batcher
from service.batching.cost_model import Profiled
from service.batching.policy import Policy
from service.errors import ServiceError
from service.types import Array, Tensors

_ROW = {"x": np.zeros((1, 1), np.uint8)}
_PLENTY = 10**9


@dataclass(frozen=True, slots=True)
class Machine:
    """`slots` batches at a time; one of n rows takes `milliseconds[n]`, between those measured in proportion."""

    name: str
    milliseconds: dict[int, float]
    slots: int = 1

    @property
    def most(self) -> int:
        return max(self.milliseconds)

    @property
    def enough(self) -> int:
        return Profiled(self.milliseconds).enough

    def seconds(self) -> list[float]:
        """By rows, from 0 to `most`."""
        cost = Profiled(self.milliseconds)
        return [0.0] + [cost.seconds(rows) for rows in range(1, self.most + 1)]

    def capacity(self, slo: float) -> float:
        """Requests a second in the largest batches that still leave as much time again for waiting."""
        return max(
            self.slots * rows / seconds
            for rows, seconds in enumerate(self.seconds())
            if rows and (2 * seconds <= slo or rows == 1)
        )


class _SimulatedRunner:
    """Takes a batch's seconds, give or take: no machine keeps time exactly."""

    def __init__(self, machine: Machine, jitter: float) -> None:
        self.slots, self._seconds = machine.slots, machine.seconds()
        self._jitter, self._chance = jitter, np.random.default_rng(0)

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        rows = len(inputs["x"])
        await asyncio.sleep(self._seconds[rows] * self._chance.uniform(1 - self._jitter, 1 + self._jitter))
        return {"y": inputs["x"]}

    async def close(self) -> None: ...


def batcher(
    machine: Machine, arrivals: Array, slo: float, policy: Policy, *, admission: bool, jitter: float = 0.0
) -> int:
    """service.batching.batcher.Batcher under `policy`, in virtual time."""
    answered = 0

    async def request(target: Batcher, came: float) -> None:
        nonlocal answered
        deadline = came + slo
        try:
            if admission:
                with target.admit(deadline) as ticket:
                    await target.submit("serving_default", _ROW, deadline=deadline, ticket=ticket)
            else:
                await target.submit("serving_default", _ROW, deadline=deadline)
        except ServiceError:
            return
        answered += asyncio.get_running_loop().time() <= deadline

    async def main() -> None:
        loop = asyncio.get_running_loop()
        runner = _SimulatedRunner(machine, jitter)
        cost = Profiled(machine.milliseconds)
        target = Batcher(runner, policy, Bounds(_PLENTY, _PLENTY), lambda signature: cost, clock=loop.time)
        under_way = set()
        for came in arrivals.tolist():
            await asyncio.sleep(came - loop.time())
            task = loop.create_task(request(target, came))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        while under_way:
            await asyncio.wait(under_way)

    clock.run(main())
    return answered


def fixed_timeout(
    machine: Machine, arrivals: Array, slo: float, max_rows: int, timeout: float, batches: int, jitter: float = 0.0
) -> int:
    """TensorFlow Serving's shared batch scheduler: a batch goes when it is full or its oldest request has waited
    `timeout` seconds; `batches` of `max_rows` may wait, past that requests are refused; a batch is dropped
    only where all of it has expired.
    """
    seconds, most, chance = machine.seconds(), max_rows * batches, random.Random(0)
    free = [0.0] * machine.slots
    queue: deque[float] = deque()
    times = arrivals.tolist()
    answered = coming = 0
    while queue or coming < len(times):
        if not queue:
            queue.append(times[coming])
            coming += 1
        missing = max_rows - len(queue)
        full = (
            times[coming + missing - 1] if 0 < missing <= len(times) - coming else queue[0] if missing <= 0 else _PLENTY
        )
        start = max(free[0], min(queue[0] + timeout, full))
        while coming < len(times) and times[coming] <= start:
            if len(queue) < most:
                queue.append(times[coming])
            coming += 1
        batch = [queue.popleft() for _ in range(min(max_rows, len(queue)))]
        if batch[-1] + slo <= start:
            continue
        end = start + seconds[len(batch)] * chance.uniform(1 - jitter, 1 + jitter)
        heapq.heapreplace(free, end)
        answered += sum(end <= came + slo for came in batch)
    return answered


def best(machine: Machine, arrivals: Array, slo: float) -> int:
    """The most that anybody could have answered who knew all arrivals before: exact for one slot.

    With equal SLOs some optimal schedule keeps to the order of arrival and batches neighbours, so
    `earliest[k]`, when the machine can be free after k requests in time, is all one has to know of the past.
    Several slots are taken for one that is as many times as fast, which can do no less.
    """
    seconds = [cost / machine.slots for cost in machine.seconds()]
    times = arrivals.tolist()
    past: deque[Array] = deque([np.zeros(1)], maxlen=machine.most)
    for index, came in enumerate(times):
        earliest = np.append(past[-1], np.inf)
        for rows in range(1, min(machine.most, index + 1) + 1):
            due = times[index - rows + 1] + slo
            if came + seconds[rows] > due:
                break
            end = np.maximum(past[-rows], came) + seconds[rows]
            end[end > due] = np.inf
            part = earliest[rows : rows + len(end)]
            np.minimum(part, end, out=part)
        past.append(earliest)
    return int(np.flatnonzero(np.isfinite(past[-1]))[-1])
