"""Who is let in to wait for a version, and the words and numbers for those who are not."""

from dataclasses import dataclass

from service.errors import Overloaded

_RENDERING = 0.04  # of what is allowed goes to what no batcher sees: writing the answer, and the way to the client


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of what waits for one version; past them a request is refused at once."""

    rows: int
    bytes: int


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that was let in: it counts as one row until its body has been read and it reaches the queue."""

    since: float
    promised: float
    """Seconds, from `since`, in which it was expected to be answered."""
    forecast: float
    """The same, before what such forecasts are usually off by; 0 where there was none."""
    coming: int = 1
    reading: float | None = None
    """Seconds that its client took to send it, which are nobody else's fault; None until all of it is here."""


def find_late(seconds: float, left: float) -> Overloaded | None:
    """The refusal of a request that surely takes `seconds`, where that is too late for a deadline in `left` seconds."""
    late = seconds - left * (1 - _RENDERING)
    if late <= 0:
        return None
    return Overloaded(
        f"an answer would take up to {1000 * seconds:.0f} ms and the deadline is in {1000 * left:.0f} ms; "
        "ask again later, or with a longer deadline",
        retry_after_ms=round(1000 * late, 1),
    )


def full(waits: str, seconds: float) -> Overloaded:
    """Because so much `waits`; in `seconds` there should be room."""
    return Overloaded(f"{waits} wait for this model already; ask again later", retry_after_ms=round(1000 * seconds, 1))
