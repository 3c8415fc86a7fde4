"""The queues of one version: each holds entries that may share a batch."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import islice
from math import inf

from service.batching.admission import Slack, count_sacrificed
from service.batching.cost_model import Cost
from service.batching.policy import Waiting
from service.errors import ServiceError
from service.types import Tensors

_MOST_BYTES = 16 * 2**20  # of a batch of several requests: upstreams bound the size of a message
_NEWEST = 0.02  # weight of the newest arrival in the expected gap


@dataclass(frozen=True, slots=True)
class Answer:
    """A caller's rows, and its seconds of waiting for a slot, of waiting for a larger batch, and of computing."""

    outputs: Tensors
    queue: float
    batch: float
    compute: float


@dataclass(eq=False, slots=True)
class Entry:
    """One caller's rows."""

    inputs: Tensors
    rows: int
    deadline: float | None
    since: float
    future: "asyncio.Future[Answer]"
    context: Context = field(default_factory=copy_context)
    size: int = 0
    held: float = 0.0
    """Seconds that it has waited for a larger batch while a slot was free."""

    def __post_init__(self) -> None:
        self.size = sum(array.nbytes for array in self.inputs.values())

    def fail(self, error: ServiceError) -> None:
        if not self.future.done():
            # A copy: one exception raised in several tasks would collect all their tracebacks.
            own = error.copy()
            own.__cause__ = error.__cause__ or error
            self.future.set_exception(own)


@dataclass(eq=False, slots=True)
class Queue:
    """Entries of one signature, outputs, dtypes and trailing shape, in order of arrival."""

    key: Hashable
    signature: str
    outputs: tuple[str, ...]
    shared: bool
    cost: Cost
    entries: deque[Entry] = field(default_factory=deque)
    rows: int = 0
    _held_since: float | None = None

    def hold(self, now: float) -> None:
        """A slot is free, and the queue waits for a larger batch."""
        if self._held_since is None:
            self._held_since = now

    def release(self, now: float) -> None:
        """The queue waits for a slot from here on."""
        if self._held_since is not None:
            for entry in self.entries:
                entry.held += now - max(entry.since, self._held_since)
            self._held_since = None

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.rows += entry.rows

    def remove(self, entry: Entry) -> None:
        self.entries.remove(entry)
        self.rows -= entry.rows

    def describe(self, max_rows: int, gap: float) -> Waiting:
        """The queue as a policy sees it: deadlines are those of the first `max_rows` entries."""
        deadline = undated = None
        for entry in islice(self.entries, max_rows):
            if entry.deadline is None:
                undated = undated or entry.since
            elif deadline is None or entry.deadline < deadline:
                deadline = entry.deadline
        oldest, newest = self.entries[0].since, self.entries[-1].since
        return Waiting(self.rows, oldest, newest, deadline, undated, gap, self.cost.seconds)

    def _slack(self, now: float, max_rows: int) -> list[Slack]:
        """Of the entries that the next two batches may take."""
        head = islice(self.entries, 2 * max_rows)
        return [(entry.rows, inf if entry.deadline is None else entry.deadline - now) for entry in head]

    def pop_batch(self, now: float, max_rows: int, drop: Callable[[Entry], None]) -> list[Entry]:
        """Pops the next batch: as many entries as fit `max_rows`, a bound in bytes, and every deadline.

        `drop` gets the entries that cannot be in time. One that is only forecast to be late is dropped if others wait
        for its place: forecasts may be wrong.
        """
        for _ in range(count_sacrificed(self._slack(now, max_rows), self.cost, max_rows)):
            entry = self.entries.popleft()
            self.rows -= entry.rows
            drop(entry)
        batch: list[Entry] = []
        rows = size = 0
        until = inf
        while self.entries:
            entry = self.entries[0]
            due = inf if entry.deadline is None else entry.deadline
            late = due <= now or (self.rows > entry.rows and now + self.cost.seconds(entry.rows) > due)
            if not late and batch:
                too_many = rows + entry.rows > max_rows or size + entry.size > _MOST_BYTES
                if too_many or now + self.cost.seconds(rows + entry.rows) > min(until, due):
                    break
            self.entries.popleft()
            self.rows -= entry.rows
            if late:
                drop(entry)
            else:
                batch.append(entry)
                rows, size, until = rows + entry.rows, size + entry.size, min(until, due)
        return batch


class Arrivals:
    """The rate at which rows arrive lately."""

    def __init__(self) -> None:
        self._gap, self._last = inf, -inf

    def observe(self, rows: int, now: float) -> None:
        gap = (now - self._last) / rows
        self._gap = gap if self._gap == inf else self._gap + _NEWEST * (gap - self._gap)
        self._last = now

    def gap(self, now: float) -> float:
        """Seconds until the next row is expected: at least as long as none has arrived by now."""
        return max(self._gap, now - self._last)

    @property
    def rate(self) -> float:
        """Rows a second."""
        return 1 / max(self._gap, 1e-6)
