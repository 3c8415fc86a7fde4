"""One batch through the model: rows in, rows out, every caller settled."""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from service.backends.base import Runner, Timed
from service.backends.batch_sharing import BatchSharing, mismatch
from service.batching.admission import Lag
from service.batching.queue import Answer, Entry, Queue
from service.errors import BackendFailed, DeadlineExceeded, InvalidInput, ServiceError
from service.types import Tensors

EXPIRED, CANCELLED = "expired", "cancelled"


class Events(Protocol):
    """Who wants to know: batches that go to the model, and rows that leave the queue without."""

    def batch(self, rows: int, dead: int) -> None:
        """`dead` of the rows were nobody's any more when they went."""
        ...

    def dropped(self, reason: str, rows: int) -> None: ...


class Nobody:
    def batch(self, rows: int, dead: int) -> None: ...
    def dropped(self, reason: str, rows: int) -> None: ...


class Dispatch:
    """Runs batches, and tells their queue what they cost. `lag` is what the event loop adds to each."""

    def __init__(
        self, runner: Runner, events: Events, sharing: BatchSharing, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`sharing` is told of signatures that turn out not to answer row for row."""
        self._runner, self._events, self._sharing, self._clock = runner, events, sharing, clock
        self.lag = Lag()

    async def run(self, queue: Queue, batch: list[Entry]) -> None:
        """Returns when all of them are settled; raises nothing but cancellation."""
        try:
            await self._compute(queue, batch)
        except InvalidInput as error:
            if len(batch) == 1:
                batch[0].fail(error)
            else:  # one caller's input is to blame, and nobody knows whose: each answers for its own
                await self._run_apart(queue, batch)
        except ServiceError as error:
            for entry in batch:
                entry.fail(error)
        except Exception as error:
            failed = BackendFailed(f"the model failed: {error}")
            failed.__cause__ = error
            for entry in batch:
                entry.fail(failed)

    async def _run_apart(self, queue: Queue, batch: list[Entry]) -> None:
        for entry in batch:
            if not entry.future.done():
                await self.run(queue, [entry])

    async def _compute(self, queue: Queue, batch: list[Entry]) -> None:
        started = self._clock()
        self._sort_out(batch, started)
        if not batch:
            return
        inputs = batch[0].inputs
        if len(batch) > 1:
            inputs = {alias: np.concatenate([entry.inputs[alias] for entry in batch]) for alias in inputs}
        rows = sum(entry.rows for entry in batch)
        self._events.batch(rows, sum(entry.rows for entry in batch if _dead(entry, started)))
        outputs = await self._runner.run(queue.signature, inputs, queue.outputs, _longest(batch, started))
        now = self._clock()
        compute = now - started
        cost = outputs.seconds if isinstance(outputs, Timed) else compute
        queue.cost.observe(rows, cost)
        self.lag.observe(compute - cost, now)
        if queue.shared and (reason := mismatch(outputs, rows)):  # nobody can tell whose part is whose
            self._sharing.stop(queue.signature, reason)
            if len(batch) > 1:
                await self._run_apart(queue, batch)
                return
        for entry, part in zip(batch, _split(outputs, [entry.rows for entry in batch]), strict=True):
            if not entry.future.done():
                entry.future.set_result(Answer(part, started - entry.since - entry.held, entry.held, compute))

    def _sort_out(self, batch: list[Entry], now: float) -> None:
        """The loop may have been busy since the batch was taken from its queue, and a client may have left."""
        for entry in [entry for entry in batch if _dead(entry, now)]:
            batch.remove(entry)
            self._events.dropped(CANCELLED if entry.future.done() else EXPIRED, entry.rows)
            entry.fail(DeadlineExceeded("the deadline passed before the model could start"))


def _dead(entry: Entry, now: float) -> bool:
    return entry.future.done() or (entry.deadline is not None and entry.deadline <= now)


def _longest(batch: list[Entry], now: float) -> float | None:
    """Seconds until the last of the batch's deadlines: nobody's earlier one may fail the others."""
    deadlines = [entry.deadline for entry in batch]
    return None if None in deadlines else max(deadline for deadline in deadlines if deadline is not None) - now


def _split(outputs: Tensors, rows: list[int]) -> list[Tensors]:
    if len(rows) == 1:
        return [outputs]
    ends = np.cumsum(rows)
    return [
        {alias: array[end - size : end] for alias, array in outputs.items()}
        for end, size in zip(ends, rows, strict=True)
    ]
