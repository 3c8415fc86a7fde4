"""Dynamic batching of one version: one queue for each (signature, outputs, dtypes, trailing shapes).

    admit ──> submit ──> queue ──(policy: when? places: whose turn?)──> batch ──> Runner.run ──> rows go back

A request that is not expected to meet its deadline is refused on arrival; one whose deadline passes in the queue is
dropped before dispatch. A request is never split and never shares a batch with another shape. Every caller is settled
exactly once: by its rows, by an error, or by its own cancellation, after which it takes no place in a batch.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf

from service.backends.base import Runner
from service.backends.batch_sharing import BatchSharing
from service.batching.admission import Bounds, Ticket, find_late, forecast_seconds, refuse_full
from service.batching.cost_model import Cost
from service.batching.dispatch import CANCELLED, EXPIRED, Dispatch, Events, Nobody
from service.batching.limit import Limit
from service.batching.policy import Policy
from service.batching.queue import Answer, Arrivals, Entry, Queue
from service.errors import DeadlineExceeded, NotReady, Overloaded
from service.host.fair_queue import Places
from service.types import DEFAULT_SIGNATURE, ModelRef, Tensors

_ALIKE = 0.001  # seconds by which two deadlines may differ and share a forecast
_FEWEST_INSIDE = 2  # requests for each slot that no limit keeps out: one is computed and one is prepared


@dataclass(eq=False, slots=True)
class _Run:
    entries: list[Entry]
    until: float


@dataclass(frozen=True, slots=True)
class _Refused:
    """A request refused at `at`, with `left` seconds to its deadline and `seconds` forecast."""

    at: float
    left: float
    seconds: float


class Batcher:
    """Owns the queues and the slots of one loaded version.

    `cost` gives the cost of a signature's batches. A request counts as one for the `usual` signature until it has been
    read. `sharing` says which signatures share batches; by default all do. `places` are shared with other versions, and
    a run takes `cores` of them.
    """

    def __init__(
        self,
        runner: Runner,
        policy: Policy,
        bounds: Bounds,
        cost: Callable[[str], Cost],
        *,
        sharing: BatchSharing | None = None,
        usual: str = DEFAULT_SIGNATURE,
        places: Places | None = None,
        cores: int = 1,
        events: Events | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner, self._policy, self._bounds, self._cost = runner, policy, bounds, cost
        self._events: Events = events or Nobody()
        self._clock = clock
        self.sharing = sharing or BatchSharing(ModelRef(""), {})
        self._dispatch = Dispatch(runner, self._events, self.sharing, clock)
        self._loop = asyncio.get_running_loop()
        self._party = (places or Places(runner.slots * cores)).party(self._pump, cores)
        self._queues: dict[Hashable, Queue] = {}
        self._costs: dict[str, Cost] = {usual: cost(usual)}
        self._usual = usual
        self._running: dict[asyncio.Task[None], _Run] = {}
        self._arrivals, self._limit = Arrivals(), Limit()
        self._inside = 0
        self._last_refused: _Refused | None = None
        self._at_door = 0
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._coming_rows = self.queued_rows = self._queued_bytes = 0

    @contextmanager
    def admit(self, deadline: float | None, ahead: float = 0.0) -> Iterator[Ticket]:
        """Lets a request in whose rows will be submitted soon, after `ahead` seconds of decoding, or raises Overloaded
        where it is not expected to be finished by its deadline. An idle model always tries.
        """
        now = self._clock()
        self._arrivals.observe(1, now)
        if deadline is not None and not self._idle:
            late = find_late(self._expected(1, deadline, ahead), deadline - now)
            if late is not None:
                raise late
        ticket = Ticket(now)
        expected = deadline is None or self._limit.seconds(self._inside + 1) <= deadline - now
        self._coming_rows += ticket.coming
        self._inside += 1
        answered = False
        try:
            yield ticket
            answered = True
        finally:
            self._inside -= 1
            self.arrived(ticket)
            ended = self._clock()
            if deadline is not None and (answered if ended < deadline else expected):
                self._limit.observe(ended - now, ticket.reading or 0.0, deadline - now, self._inside, ended)

    def overloaded(self, deadline: float | None, ahead: float = 0.0) -> Overloaded | None:
        """Why `admit` would refuse a request that comes now; None where it would not: it is to be admitted in this turn
        of the event loop, and until then stands ahead of those asked about next.

        In a storm it costs a few microseconds: what was forecast for one refused request holds for the next, less the
        time between them, until a batch ends or somebody leaves.
        """
        if self._draining:
            return None
        if deadline is None or (self._idle and not self._at_door):
            self._let_pass()
            return None
        now = self._clock()
        left, last, late = deadline - now, self._last_refused, None
        if last is not None and left <= last.left + _ALIKE:
            late = find_late(last.seconds - (now - last.at), left)
        if late is None:
            seconds = self._expected(1, deadline, ahead, self._at_door)
            late = find_late(seconds, left)
            if late is not None:
                self._last_refused = _Refused(now, left, seconds)
        if late is None:
            self._let_pass()
        return late

    def count_refused(self) -> None:
        """Counts a request that came and was refused as `overloaded` says."""
        self._arrivals.observe(1, self._clock())

    def _let_pass(self) -> None:
        if not self._at_door:
            self._loop.call_soon(self._clear_door)  # when those let pass have had their turn
        self._at_door += 1

    def _clear_door(self) -> None:
        self._at_door = 0

    def arrived(self, ticket: Ticket) -> None:
        """What was let in on `ticket` is not expected any more: it is in a queue, or needs no run of its own."""
        self._coming_rows -= ticket.coming
        ticket.coming = 0

    async def submit(
        self,
        signature: str,
        inputs: Tensors,
        outputs: tuple[str, ...] = (),
        *,
        shared: bool = True,
        alone: bool = False,
        deadline: float | None = None,
        ticket: Ticket | None = None,
    ) -> Answer:
        """Runs the rows of `inputs` through the model.

        `shared`: dim 0 counts rows, so that the batch may take other requests if the signature allows it. `alone`: this
        request shares no batch. `deadline` is a reading of the clock.

        Raises Overloaded, NotReady (draining), DeadlineExceeded, or what the runner raises.
        """
        if self._draining:
            raise NotReady("this version is being unloaded; ask again for the newest one")
        rows = len(next(iter(inputs.values()))) if shared else 1
        now = self._clock()
        entry = Entry(inputs, rows, deadline, now, self._loop.create_future())
        self._check_bounds(entry)
        if ticket is not None:
            self.arrived(ticket)
        else:
            self._arrivals.observe(rows, now)
        queue = self._queue(signature, inputs, outputs, shared and not alone and self.sharing.allows(signature))
        queue.add(entry)
        self.queued_rows += rows
        self._queued_bytes += entry.size
        self._pump()
        try:
            return await entry.future
        except asyncio.CancelledError:
            if entry in queue.entries:
                queue.remove(entry)
                self._last_refused = None
                self._events.dropped(CANCELLED, entry.rows)
                self._count_out(queue, entry)
                if not self._queues:
                    self._party.give_up()
            self._stop_unread()
            raise

    async def drain(self) -> None:
        """Returns when all submitted requests are settled. `submit` is refused from now on."""
        self._draining = True
        self._pump()
        while self._running or self._queues:
            await asyncio.wait(self._running or [self._loop.create_task(asyncio.sleep(0.01))])

    def _check_bounds(self, entry: Entry) -> None:
        # A request larger than the whole queue runs if nothing else waits.
        if not self.queued_rows:
            return
        over = self.queued_rows + entry.rows > self._bounds.rows
        if over or self._queued_bytes + entry.size > self._bounds.bytes:
            waiting = f"{self.queued_rows} rows" if over else f"{self._queued_bytes / 1e6:.0f} MB"
            raise refuse_full(waiting, self._expected(entry.rows, None, 0.0))

    def _expected(self, rows: int, deadline: float | None, ahead: float, at_door: int = 0) -> float:
        """Seconds until `rows` that arrive now are answered, after `at_door` others and `ahead` seconds of decoding."""
        now, cost = self._clock(), self._costs[self._usual]
        allowed = inf if deadline is None else deadline - now
        most = min(self._policy.max_rows, cost.enough) if self.sharing.allows(self._usual) else 1
        inside, slots = self._inside + at_door, self._runner.slots
        waited = self._limit.seconds(inside + 1)
        if waited > allowed and inside >= _FEWEST_INSIDE * slots:
            return waited
        free = max(0.0, min(run.until for run in self._running.values()) - now) if self._busy else 0.0
        return forecast_seconds(
            cost,
            rows,
            before=self.queued_rows + self._coming_rows + at_door,
            free=max(ahead, free),
            most=most,
            allowed=allowed,
            rate=self._arrivals.rate,
            slots=slots,
        )

    @property
    def _idle(self) -> bool:
        return not (self._running or self.queued_rows or self._coming_rows)

    @property
    def _busy(self) -> bool:
        return len(self._running) >= self._runner.slots

    def _stop_unread(self) -> None:
        """Cancels the batches that no caller waits for: an upstream may hang for ever."""
        for task, run in self._running.items():
            if all(entry.future.done() for entry in run.entries):
                task.cancel()

    def _queue(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], shared: bool) -> Queue:
        shapes = tuple((alias, array.dtype.str, array.shape[1:]) for alias, array in sorted(inputs.items()))
        key = (signature, outputs, shared, shapes)
        if signature not in self._costs:
            self._costs[signature] = self._cost(signature)
        if key not in self._queues:
            self._queues[key] = Queue(key, signature, outputs, shared, self._costs[signature])
        return self._queues[key]

    def _pump(self) -> None:
        """Fills free slots with batches that are due, and sets a timer for the next queue that becomes due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queues and not self._busy:
            now = self._clock()
            due, queue = min(
                ((self._due(queue, now), queue) for queue in self._queues.values()), key=lambda one: one[0]
            )
            if due > now:
                self._timer = self._loop.call_later(due - now, self._pump)
                for waiting in self._queues.values():
                    waiting.hold(now)
                break
            queue.release(now)
            most = min(self._policy.max_rows, queue.cost.enough) if self._shares(queue) else 1
            if not self._party.enter(queue.cost.seconds(min(most, queue.rows))):
                return  # in line: the version that leaves calls `_pump`
            batch = queue.pop_batch(now, most, partial(self._drop, queue))
            for entry in batch:
                self._count_out(queue, entry)
            if not batch:
                self._party.leave()
                continue
            task = self._loop.create_task(self._dispatch.run(queue, batch), context=batch[0].context)
            self._running[task] = _Run(batch, now + queue.cost.seconds(sum(entry.rows for entry in batch)))
            task.add_done_callback(self._finished)
        if self._busy:
            for queue in self._queues.values():
                queue.release(self._clock())
        self._party.give_up()

    def _due(self, queue: Queue, now: float) -> float:
        if self._draining or not self._shares(queue):  # no other request can join
            return queue.entries[0].since
        return self._policy.dispatch_at(queue.describe(self._policy.max_rows, self._arrivals.gap(now)))

    def _shares(self, queue: Queue) -> bool:
        return queue.shared and self.sharing.allows(queue.signature)  # it may have stopped since the queue was created

    def _drop(self, queue: Queue, entry: Entry) -> None:
        self._count_out(queue, entry)
        self._last_refused = None
        self._events.dropped(EXPIRED, entry.rows)
        entry.fail(DeadlineExceeded("the deadline passed, or would have, while the request waited for the model"))

    def _count_out(self, queue: Queue, entry: Entry) -> None:
        self.queued_rows -= entry.rows
        self._queued_bytes -= entry.size
        if not queue.entries:
            self._queues.pop(queue.key, None)

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._last_refused = None
        self._party.leave()
        self._pump()
