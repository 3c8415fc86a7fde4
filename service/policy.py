"""When a batch goes: the seam between the queues and whoever decides how long they may wait."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a policy may know of a queue: its rows, and when its oldest entry came (seconds)."""

    rows: int
    oldest: float


class Policy(Protocol):
    """Decides when a queue's head becomes a batch. `max_rows` bounds a batch of several requests."""

    @property
    def max_rows(self) -> int: ...

    def dispatch_at(self, waiting: Waiting) -> float:
        """The `time.monotonic()` at which a free slot should take this queue's head."""
        ...


@dataclass(frozen=True, slots=True)
class SizeAndDelay:
    """A batch goes when it is full or its oldest request has waited `max_delay` seconds.

    With no delay, requests batch only while every slot is busy: no request ever waits for company.
    """

    max_rows: int
    max_delay: float = 0.0

    def dispatch_at(self, waiting: Waiting) -> float:
        return waiting.oldest if waiting.rows >= self.max_rows else waiting.oldest + self.max_delay
