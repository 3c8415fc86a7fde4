"""Requests that wait together run together: one queue a (signature, inputs, dtypes, trailing shapes).

    submit ──> queue ──(policy: when?)──> batch ──> Runner.run ──> rows go back to their callers

A request is never split and never shares a batch with another shape. Every caller is settled exactly
once: by its rows, by an error, or by its own cancellation, after which it takes no place in a batch.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextvars import Context, copy_context
from dataclasses import dataclass, field

import numpy as np

from service.backends.base import Runner
from service.errors import BackendFailed, DeadlineExceeded, InvalidInput, NotReady, Overloaded, ServiceError
from service.messages import Tensors
from service.policy import Policy, Waiting

_MOST_BYTES = 16 * 2**20  # of several requests' inputs in one batch: upstreams bound a message's size


@dataclass(frozen=True, slots=True)
class Answer:
    """A caller's rows and the seconds it waited and computed."""

    outputs: Tensors
    queue: float
    compute: float


@dataclass(eq=False, slots=True)
class _Entry:
    inputs: Tensors
    rows: int
    deadline: float | None
    since: float
    future: "asyncio.Future[Answer]"
    context: Context = field(default_factory=copy_context)

    @property
    def size(self) -> int:
        return sum(array.nbytes for array in self.inputs.values())

    def fail(self, error: ServiceError) -> None:
        if not self.future.done():
            # An exception of one's own: raised in several tasks, one would collect all their tracebacks.
            own = type(error)(error.message, **error.detail)
            own.__cause__ = error.__cause__ or error
            self.future.set_exception(own)


@dataclass(eq=False, slots=True)
class _Queue:
    key: Hashable
    signature: str
    outputs: tuple[str, ...]
    shared: bool
    entries: deque[_Entry] = field(default_factory=deque)
    rows: int = 0


class Batcher:
    """Owns the queues and the slots of one loaded version.

    `observe(rows)` is told the size of every batch that goes to the runner. `max_queued_rows` bounds
    what waits; past it `submit` raises Overloaded at once.
    """

    def __init__(
        self, runner: Runner, policy: Policy, max_queued_rows: int, observe: Callable[[int], None] = lambda rows: None
    ) -> None:
        self._runner, self._policy, self._max_queued_rows, self._observe = runner, policy, max_queued_rows, observe
        self._loop = asyncio.get_running_loop()
        self._queues: dict[Hashable, _Queue] = {}
        self._running: dict[asyncio.Task[None], list[_Entry]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self.queued_rows = 0

    async def submit(
        self,
        signature: str,
        inputs: Tensors,
        outputs: tuple[str, ...] = (),
        *,
        shared: bool = True,
        deadline: float | None = None,
    ) -> Answer:
        """The rows of `inputs` through the model. `shared` says that dim 0 counts rows, so that other
        requests may join the batch; else the request runs alone. `deadline` is a `time.monotonic()`.

        Raises Overloaded, NotReady (draining), DeadlineExceeded, or what the runner raises.
        """
        if self._draining:
            raise NotReady("this version is being unloaded; ask again for the newest one")
        rows = len(next(iter(inputs.values()))) if shared else 1
        # A request larger than the whole queue still runs, when nothing else waits.
        if self.queued_rows and self.queued_rows + rows > self._max_queued_rows:
            raise Overloaded(f"{self.queued_rows} rows wait for this model already; ask again later")
        queue = self._queue(signature, inputs, outputs, shared)
        entry = _Entry(inputs, rows, deadline, time.monotonic(), self._loop.create_future())
        queue.entries.append(entry)
        queue.rows += rows
        self.queued_rows += rows
        self._pump()
        try:
            return await entry.future
        except asyncio.CancelledError:
            if entry in queue.entries:
                queue.entries.remove(entry)
                self._count_out(queue, entry)
            self._stop_unread()
            raise

    async def drain(self) -> None:
        """Returns when everything submitted so far is settled; from now on `submit` is refused."""
        self._draining = True
        self._pump()
        while self._running:
            await asyncio.wait(self._running)

    def _stop_unread(self) -> None:
        """Cancels the batches that nobody waits for any more: an upstream may hang for ever."""
        for task, batch in self._running.items():
            if all(entry.future.done() for entry in batch):
                task.cancel()

    def _queue(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], shared: bool) -> _Queue:
        shapes = tuple((alias, array.dtype.str, array.shape[1:]) for alias, array in sorted(inputs.items()))
        key = (signature, outputs, shared, shapes)
        if key not in self._queues:
            self._queues[key] = _Queue(key, signature, outputs, shared)
        return self._queues[key]

    def _pump(self) -> None:
        """Fills free slots with what is due, then arranges to look again when the next queue will be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queues and len(self._running) < self._runner.slots:
            queue = min(self._queues.values(), key=self._due)
            if (wait := self._due(queue) - time.monotonic()) > 0:
                self._timer = self._loop.call_later(wait, self._pump)
                return
            if batch := self._take(queue):
                task = self._loop.create_task(self._run(queue, batch), context=batch[0].context)
                self._running[task] = batch
                task.add_done_callback(self._finished)

    def _due(self, queue: _Queue) -> float:
        oldest = queue.entries[0].since
        if self._draining or not queue.shared:  # there is no company to wait for
            return oldest
        return self._policy.dispatch_at(Waiting(queue.rows, oldest))

    def _take(self, queue: _Queue) -> list[_Entry]:
        """Pops the head of the queue, up to `max_rows` and a bound in bytes; dead entries are dropped on the way."""
        batch: list[_Entry] = []
        rows, size, limit = 0, 0, self._policy.max_rows if queue.shared else 1
        while queue.entries:
            entry = queue.entries[0]
            if batch and (rows + entry.rows > limit or size + entry.size > _MOST_BYTES):
                break
            queue.entries.popleft()
            self._count_out(queue, entry)
            if entry.deadline is not None and entry.deadline <= time.monotonic():
                entry.fail(DeadlineExceeded("the deadline passed while the request waited for the model"))
            elif not entry.future.done():
                batch.append(entry)
                rows, size = rows + entry.rows, size + entry.size
        return batch

    def _count_out(self, queue: _Queue, entry: _Entry) -> None:
        queue.rows -= entry.rows
        self.queued_rows -= entry.rows
        if not queue.entries:
            self._queues.pop(queue.key, None)

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._pump()

    async def _run(self, queue: _Queue, batch: list[_Entry]) -> None:
        try:
            await self._compute(queue, batch)
        except InvalidInput as error:
            if len(batch) == 1:
                batch[0].fail(error)
            else:  # one caller's input is to blame, and nobody knows whose: each answers for its own
                for entry in batch:
                    if not entry.future.done():
                        await self._run(queue, [entry])
        except ServiceError as error:
            for entry in batch:
                entry.fail(error)
        except Exception as error:
            failed = BackendFailed(f"the model failed: {error}")
            failed.__cause__ = error
            for entry in batch:
                entry.fail(failed)

    async def _compute(self, queue: _Queue, batch: list[_Entry]) -> None:
        started = time.monotonic()
        inputs = batch[0].inputs
        if len(batch) > 1:
            inputs = {alias: np.concatenate([entry.inputs[alias] for entry in batch]) for alias in inputs}
        self._observe(sum(entry.rows for entry in batch))
        outputs = await self._runner.run(queue.signature, inputs, queue.outputs, _longest(batch, started))
        compute = time.monotonic() - started
        for entry, rows in zip(batch, _split(outputs, [entry.rows for entry in batch]), strict=True):
            if not entry.future.done():
                entry.future.set_result(Answer(rows, started - entry.since, compute))


def _longest(batch: list[_Entry], now: float) -> float | None:
    """Seconds until the last of the batch's deadlines: nobody's earlier one may fail the others."""
    deadlines = [entry.deadline for entry in batch]
    return None if None in deadlines else max(deadline for deadline in deadlines if deadline is not None) - now


def _split(outputs: Tensors, rows: list[int]) -> list[Tensors]:
    if len(rows) == 1:
        return [outputs]
    ends = np.cumsum(rows)
    for alias, array in outputs.items():
        if array.ndim == 0 or len(array) != ends[-1]:
            raise BackendFailed(f"output {alias!r} has shape {list(array.shape)} for a batch of {ends[-1]} rows")
    return [
        {alias: array[end - size : end] for alias, array in outputs.items()}
        for end, size in zip(ends, rows, strict=True)
    ]
