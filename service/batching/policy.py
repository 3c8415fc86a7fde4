"""When a batch goes: the seam between queues and the policy that decides how long they wait."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queue as a policy sees it. Times are readings of one clock, in seconds.

    `rows` wait, the oldest since `oldest`, the newest since `newest`. `deadline` is the earliest deadline; `undated` is
    the arrival of the oldest request without one (None where every request has one). `gap` is the expected time until
    the next row arrives; `cost` gives the seconds of a batch by its rows.
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
        """When a free slot should take the head of this queue; a time in the past means now."""


_WORTH = 4.0  # times the wait must be saved: the wait is certain, the next request is not
_MARGIN = 1.25  # times the cost: a held batch must not be late on a slightly slower machine


@dataclass(frozen=True, slots=True)
class ByDeadline:
    """A batch is held while one more row saves more computing than the wait costs, and every deadline can be met.

    One more row saves `cost(n) + cost(1) - cost(n + 1)`; a slot that waits for it idles for the expected gap. On a CPU
    a batch costs what its rows cost, nothing is saved, and no request waits. A request without a deadline waits for at
    most `max_delay` seconds.
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
