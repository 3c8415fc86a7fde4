"""One batch through the model: rows in, rows out, every caller settled."""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from service.backends.base import Runner, Timed
from service.backends.batch_sharing import BatchSharing, find_mismatch
from service.batching.queue import Answer, Entry, Queue
from service.errors import BackendFailed, DeadlineExceeded, InvalidInput, ServiceError
from service.types import Tensors

EXPIRED, CANCELLED = "expired", "cancelled"


class Events(Protocol):
    """Hears of batches that go to the model, and of rows that leave the queue without."""

    def batch(self, rows: int, dead: int) -> None:
        """`dead` of the rows had no caller or no time left when the batch started."""

    def dropped(self, reason: str, rows: int) -> None: ...


class Nobody:
    def batch(self, rows: int, dead: int) -> None: ...
    def dropped(self, reason: str, rows: int) -> None: ...


class Dispatch:
    """Runs batches and corrects their queue's cost."""

    def __init__(
        self, runner: Runner, events: Events, sharing: BatchSharing, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._runner, self._events, self._sharing, self._clock = runner, events, sharing, clock

    async def run(self, queue: Queue, batch: list[Entry]) -> None:
        """Returns when all entries are settled. Raises nothing but cancellation."""
        try:
            await self._compute(queue, batch)
        except InvalidInput as error:
            if len(batch) == 1:
                batch[0].fail(error)
            else:  # one caller's input is to blame, and which one shows only if each runs alone
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
        self._drop_dead(batch, started)
        if not batch:
            return
        inputs = batch[0].inputs
        if len(batch) > 1:
            inputs = {alias: np.concatenate([entry.inputs[alias] for entry in batch]) for alias in inputs}
        rows = sum(entry.rows for entry in batch)
        self._events.batch(rows, sum(entry.rows for entry in batch if _is_dead(entry, started)))
        outputs = await self._runner.run(queue.signature, inputs, queue.outputs, _seconds_left(batch, started))
        compute = self._clock() - started
        queue.cost.observe(rows, outputs.seconds if isinstance(outputs, Timed) else compute)
        if queue.shared and (reason := find_mismatch(outputs, rows)):  # the rows cannot be told apart
            self._sharing.stop(queue.signature, reason)
            if len(batch) > 1:
                await self._run_apart(queue, batch)
                return
        for entry, part in zip(batch, _split(outputs, [entry.rows for entry in batch]), strict=True):
            if not entry.future.done():
                entry.future.set_result(Answer(part, started - entry.since - entry.held, entry.held, compute))

    def _drop_dead(self, batch: list[Entry], now: float) -> None:
        """Drops entries whose caller left, or whose deadline passed, since the batch left its queue."""
        for entry in [entry for entry in batch if _is_dead(entry, now)]:
            batch.remove(entry)
            self._events.dropped(CANCELLED if entry.future.done() else EXPIRED, entry.rows)
            entry.fail(DeadlineExceeded("the deadline passed before the model could start"))


def _is_dead(entry: Entry, now: float) -> bool:
    return entry.future.done() or (entry.deadline is not None and entry.deadline <= now)


def _seconds_left(batch: list[Entry], now: float) -> float | None:
    """Seconds until the batch's last deadline: an earlier one must not fail the other callers."""
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
