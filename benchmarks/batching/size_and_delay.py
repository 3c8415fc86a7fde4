"""The policy that the service's own is compared with, and that tests of the batcher use: it knows no deadlines."""

from dataclasses import dataclass

from service.batching.policy import Waiting


@dataclass(frozen=True, slots=True)
class SizeAndDelay:
    """A batch goes when it is full or its oldest request has waited `max_delay` seconds, whatever its deadlines.

    Without a delay, requests batch only while every slot is busy. The service's own `ByDeadline` is the same for
    requests without a deadline.
    """

    max_rows: int
    max_delay: float = 0.0

    def dispatch_at(self, waiting: Waiting) -> float:
        return waiting.oldest if waiting.rows >= self.max_rows else waiting.oldest + self.max_delay
