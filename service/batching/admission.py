"""What a batcher may promise: the batches it should count on, and how far off its promises were."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, takewhile
from math import inf

from service.batching.cost_model import Cost
from service.errors import Overloaded

_RENDERING = 0.04  # of what is allowed goes to what no batcher sees: writing the answer, and the way to the client
_SWAMPED = 2.2  # times what can be done; found by simulating with 0.8 to 3
_HALF_LIFE = 10.0  # times what was allowed, in which a margin that nobody needed shrinks to half
_OVERRUN_WEIGHT = 0.02  # of the newest request
_LAG_HALF_LIFE = 1.0  # seconds
_LAG_WEIGHT = 0.1  # of the newest batch
_MOST = 0.25  # of what was allowed: a service that refuses everybody learns nothing


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


Slack = tuple[int, float]
"""A waiting request's rows, and the seconds until its deadline."""


class Margin:
    """Seconds to add to a prediction, so that next to none of those let in on it are late.

    It is the largest error that made a request late, and is forgotten with time: the requests of one batch are late
    together, and by the same error.
    """

    def __init__(self) -> None:
        self._seconds, self._since, self._half_life = 0.0, 0.0, 1.0

    def seconds(self, now: float) -> float:
        return float(self._seconds * 0.5 ** ((now - self._since) / self._half_life))

    def late(self, promised: float, took: float, allowed: float, now: float) -> None:
        """A request that was promised an answer within `promised` seconds took `took`, more than it was `allowed`."""
        needed = min(took - promised, _MOST * allowed)
        self._seconds, self._since, self._half_life = max(needed, self.seconds(now)), now, _HALF_LIFE * allowed


class Lag:
    """Seconds that a batch lately waits for the event loop, beside what it takes on its runner's thread. It is added to
    a forecast once, and forgotten with time: nobody who is refused can show that the loop is free again.
    """

    def __init__(self) -> None:
        self._seconds, self._since = 0.0, 0.0

    def seconds(self, now: float) -> float:
        return float(self._seconds * 0.5 ** ((now - self._since) / _LAG_HALF_LIFE))

    def observe(self, seconds: float, now: float) -> None:
        known = self.seconds(now)
        self._seconds, self._since = known + _LAG_WEIGHT * (max(0.0, seconds) - known), now


class Overrun:
    """How many times longer than forecast requests take lately, at least once: a forecast knows batches and what waits
    for them. Where a model is small, the way to it and back takes longer than the model, and is a queue as well.
    """

    def __init__(self) -> None:
        self._took = self._forecast = 0.0

    @property
    def times(self) -> float:
        return max(1.0, self._took / self._forecast) if self._forecast > 0 else 1.0

    def observe(self, forecast: float, took: float) -> None:
        """Seconds, of a request that was answered. One that nothing was known of tells nothing."""
        if forecast > 0:
            self._took += _OVERRUN_WEIGHT * (took - self._took)
            self._forecast += _OVERRUN_WEIGHT * (forecast - self._forecast)


def until_done(
    cost: Cost, rows: int, *, before: int, free: float, most: int, allowed: float, rate: float, slots: int
) -> float:
    """Seconds until `rows` that come now are through: `before` rows are ahead of them, batches go up to `most`, and the
    first of `slots` free in `free` seconds. They come at `rate` a second, and each has `allowed` seconds.
    """
    usual = most if allowed == inf else largest_batch(cost, most, allowed, slots)
    thrifty = best_batch(cost, most, allowed, rate, slots)
    batch = max(thrifty, usual)
    waves, company = divmod(before, batch)
    own = cost.seconds(company + rows)
    if rate * cost.seconds(usual) > _SWAMPED * slots * usual:
        # So many come that those are too late already that would keep a batch smaller than it has to be.
        own = max(own, cost.seconds(thrifty))
    return free + waves * cost.seconds(batch) / slots + own


def best_batch(cost: Cost, most: int, allowed: float, rate: float, slots: int) -> int:
    """The batch size that answers most requests in time when they come at `rate` a second, each with `allowed` seconds.

    A slot takes batches back to back. In one, only those can be in time that came at most `allowed` less the batch's
    own time before it starts: larger batches do more a second, and leave fewer who can wait for them.
    """
    best, most_served = 1, 0.0
    for size in _sizes(most):
        cycle = cost.seconds(size) / slots
        window = min(cycle, allowed - cycle * slots)
        served = min(size, rate * window) / cycle if cycle > 0 else size
        if served > most_served * 1.001:
            best, most_served = size, served
    return best


def largest_batch(cost: Cost, most: int, allowed: float, slots: int) -> int:
    """The largest batch that still leaves a slot's round as much time for waiting."""
    return max((size for size in _sizes(most) if cost.seconds(size) * (1 + 1 / slots) <= allowed), default=1)


def sacrificed(slack: Sequence[Slack], cost: Cost, most: int) -> int:
    """How many requests at the head of a queue to give up, because the small batch that they are still in time for
    would make more of those behind them late (Nexus' early drop: Shen et al., SOSP 2019). `slack` is oldest first.
    """
    if _fitting(slack, 0, 0.0, cost, most) >= min(len(slack), most):
        return 0
    dated = sum(1 for _ in takewhile(lambda one: one[1] < inf, slack))  # nobody else's place is for sale
    most_given_up = min(dated, len(slack) - 1)
    candidates = [0, *(1 << power for power in range(most.bit_length()) if 1 << power <= most_given_up)]
    return max(candidates, key=lambda given_up: _throughput(slack, given_up, cost, most))


def _throughput(slack: Sequence[Slack], first: int, cost: Cost, most: int) -> float:
    """Requests in time a second over the next two batches, where those before `first` are given up."""
    now, served = 0.0, 0
    for _ in range(2):
        count = _fitting(slack, first, now, cost, most)
        now += cost.seconds(sum(rows for rows, _ in slack[first : first + count]))
        served, first = served + count, first + max(1, count)
    return served / now if now else 0.0


def _fitting(slack: Sequence[Slack], first: int, now: float, cost: Cost, most: int) -> int:
    """How many from `first` on make a batch that starts at `now` and is in time for all of them."""
    size, until, count = 0, inf, 0
    for rows, left in islice(slack, first, None):
        size, until = size + rows, min(until, left)
        if (count and size > most) or now + cost.seconds(size) > until:
            break
        count += 1
    return count


@cache
def _sizes(most: int) -> tuple[int, ...]:
    """1 .. `most`, a quarter apart: what lies between is no better by more than that."""
    sizes = [1]
    while sizes[-1] < most:
        sizes.append(min(most, sizes[-1] + max(1, sizes[-1] // 4)))
    return tuple(sizes)
