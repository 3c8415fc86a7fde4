"""Who may wait for a model: forecasts of a request's latency from queues and costs, and the refusals that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, takewhile
from math import inf

from service.batching.cost_model import Cost
from service.errors import Overloaded

_RENDERING = 0.04  # of the time allowed goes to writing and sending the answer, which no batcher sees
_SWAMPED = 2.2  # times the capacity; found by simulating with 0.8 to 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of the queues of one version. A request past them is refused at once."""

    rows: int
    bytes: int


@dataclass(eq=False, slots=True)
class Ticket:
    """An admitted request. It counts as one row until its body has been read and its rows reach a queue."""

    since: float
    coming: int = 1
    reading: float | None = None
    """Seconds that the client took to send the body, which are not the service's; None until the body is complete."""


def find_late(seconds: float, left: float) -> Overloaded | None:
    """The refusal of a request that takes `seconds`; None where that meets a deadline in `left` seconds."""
    late = seconds - left * (1 - _RENDERING)
    if late <= 0:
        return None
    return Overloaded(
        f"an answer would take up to {1000 * seconds:.0f} ms and the deadline is in {1000 * left:.0f} ms; "
        "ask again later, or with a longer deadline",
        retry_after_ms=round(1000 * late, 1),
    )


def refuse_full(waiting: str, seconds: float) -> Overloaded:
    """The refusal of a request that finds so much `waiting`, in words; `seconds` until there should be room."""
    return Overloaded(
        f"{waiting} wait for this model already; ask again later", retry_after_ms=round(1000 * seconds, 1)
    )


Slack = tuple[int, float]
"""The rows of a waiting request, and the seconds until its deadline."""


def forecast_seconds(
    cost: Cost, rows: int, *, before: int, free: float, most: int, allowed: float, rate: float, slots: int
) -> float:
    """Seconds until `rows` that arrive now are computed.

    `before` rows are ahead of them, a batch has at most `most` rows, and the first of `slots` is free in `free`
    seconds. Rows arrive at `rate` a second, each with `allowed` seconds.
    """
    usual = most if allowed == inf else find_largest_batch(cost, most, allowed, slots)
    thrifty = choose_batch(cost, most, allowed, rate, slots)
    batch = max(thrifty, usual)
    waves, company = divmod(before, batch)
    own = cost.seconds(company + rows)
    if rate * cost.seconds(usual) > _SWAMPED * slots * usual:
        # Nobody whose deadline would keep a batch small is in time any more.
        own = max(own, cost.seconds(thrifty))
    return free + waves * cost.seconds(batch) / slots + own


def choose_batch(cost: Cost, most: int, allowed: float, rate: float, slots: int) -> int:
    """The batch size that answers most requests in time; they arrive at `rate` a second, each with `allowed` seconds.

    A slot runs batches back to back. A request is in time if it arrived at most `allowed` minus the batch's own time
    before the start. Larger batches do more a second, and fewer requests can wait for them.
    """
    best, most_served = 1, 0.0
    for size in _sizes(most):
        cycle = cost.seconds(size) / slots
        window = min(cycle, allowed - cycle * slots)
        served = min(size, rate * window) / cycle if cycle > 0 else size
        if served > most_served * 1.001:
            best, most_served = size, served
    return best


def find_largest_batch(cost: Cost, most: int, allowed: float, slots: int) -> int:
    """The largest batch that `allowed` seconds hold together with the wait for a slot."""
    return max((size for size in _sizes(most) if cost.seconds(size) * (1 + 1 / slots) <= allowed), default=1)


def count_sacrificed(slack: Sequence[Slack], cost: Cost, most: int) -> int:
    """How many requests at the head of a queue to give up; `slack` is oldest first.

    They are in time only for a small batch, which would make more of the requests behind them late (early drop in
    Nexus: Shen et al., SOSP 2019).
    """
    if _fitting(slack, 0, 0.0, cost, most) >= min(len(slack), most):
        return 0
    dated = sum(1 for _ in takewhile(lambda one: one[1] < inf, slack))  # one without a deadline is never given up
    most_given_up = min(dated, len(slack) - 1)
    candidates = [0, *(1 << power for power in range(most.bit_length()) if 1 << power <= most_given_up)]
    return max(candidates, key=lambda given_up: _throughput(slack, given_up, cost, most))


def _throughput(slack: Sequence[Slack], first: int, cost: Cost, most: int) -> float:
    """Requests in time, a second, over the next two batches, with those before `first` given up."""
    now, served = 0.0, 0
    for _ in range(2):
        count = _fitting(slack, first, now, cost, most)
        now += cost.seconds(sum(rows for rows, _ in slack[first : first + count]))
        served, first = served + count, first + max(1, count)
    return served / now if now else 0.0


def _fitting(slack: Sequence[Slack], first: int, now: float, cost: Cost, most: int) -> int:
    """How many requests from `first` on fit a batch that starts at `now` and meets all their deadlines."""
    size, until, count = 0, inf, 0
    for rows, left in islice(slack, first, None):
        size, until = size + rows, min(until, left)
        if (count and size > most) or now + cost.seconds(size) > until:
            break
        count += 1
    return count


@cache
def _sizes(most: int) -> tuple[int, ...]:
    """1 .. `most`, a quarter apart: sizes between them gain no more than that."""
    sizes = [1]
    while sizes[-1] < most:
        sizes.append(min(most, sizes[-1] + max(1, sizes[-1] // 4)))
    return tuple(sizes)
