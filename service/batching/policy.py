"""When a batch goes: the seam between the queues and whoever decides how long they may wait."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a policy may know of a queue. Times are those of one clock, in seconds.

    `rows` wait, the oldest since `oldest`, the newest since `newest`. The tightest deadline among them is `deadline`;
    `undated` is since when the oldest request without one waits (None where there is no such thing). `gap` is how long
    the next row is expected to take to come, and `cost` what a batch of so many rows takes.
    """

    rows: int
    oldest: float
    newest: float
    deadline: float | None
    undated: float | None
    gap: float
    cost: Callable[[int], float]


class Policy(Protocol):
    """Decides when a queue's head becomes a batch. `max_rows` bounds a batch of several requests."""

    @property
    def max_rows(self) -> int: ...

    def dispatch_at(self, waiting: Waiting) -> float:
        """When a free slot should take this queue's head; what lies in the past means now."""
        ...


@dataclass(frozen=True, slots=True)
class SizeAndDelay:
    """A batch goes when it is full or its oldest request has waited `max_delay` seconds, whatever its deadlines.

    With no delay, requests batch only while every slot is busy: what the simulation calls eager. The service itself
    uses `ByDeadline`, which is the same for requests without a deadline.
    """

    max_rows: int
    max_delay: float = 0.0

    def dispatch_at(self, waiting: Waiting) -> float:
        return waiting.oldest if waiting.rows >= self.max_rows else waiting.oldest + self.max_delay


_WORTH = 4.0  # times the wait: what must be saved for it, since a wait is certain and the newcomer is not
_MARGIN = 1.25  # times the cost: a held batch must not become late because the machine is a little slower today


@dataclass(frozen=True, slots=True)
class ByDeadline:
    """A batch is held open while the company it waits for saves more computing than the wait costs, and every
    deadline can still be met.

    One more row in this batch saves `cost(n) + cost(1) - cost(n + 1)`, the time that it would take by itself; a slot
    that waits for it idles for the expected gap. On a CPU a batch costs what its rows do, nothing is saved, and no
    request ever waits. A request without a deadline waits for at most `max_delay` seconds.
    """

    max_rows: int
    max_delay: float = 0.0

    def dispatch_at(self, waiting: Waiting) -> float:
        if waiting.rows >= self.max_rows:
            return waiting.oldest
        latest = [] if waiting.undated is None else [waiting.undated + self.max_delay]
        if waiting.deadline is not None:
            larger = waiting.cost(waiting.rows + 1)
            saved = waiting.cost(waiting.rows) + waiting.cost(1) - larger
            if saved <= _WORTH * waiting.gap:
                return waiting.oldest
            latest += [waiting.deadline - _MARGIN * larger, waiting.newest + waiting.gap]
        return min(latest)
