"""How many may be inside: learned from who was late."""

from collections import deque
from math import inf

from service.batching.limit import Limit

SLO = 0.1


def _observe(limit: Limit, count: int, took: float, inside: int, begin: float) -> float:
    """`count` requests leave, one a millisecond, and it is that time then."""
    for number in range(count):
        limit.observe(took, 0.0, SLO, inside, begin + number / 1000)
    return begin + count / 1000


def test_nobody_late_is_no_limit() -> None:
    limit = Limit()
    _observe(limit, 1000, 0.09, 10_000, 0.0)
    assert limit.seconds(10**9) == 0.0


def test_late_ones_bound_who_is_inside_and_early_ones_let_more_in() -> None:
    limit = Limit()
    now = _observe(limit, 150, 0.15, 80, 0.0)
    assert limit.seconds(80) > SLO > limit.seconds(4)
    now = _observe(limit, 250, 0.05, 10, now)
    assert limit.seconds(80) < SLO, "a thousand a second were answered in half of the time"
    before = limit.seconds(1)
    _observe(limit, 450, 0.05, 10, now)
    assert limit.seconds(1) < before


def test_a_share_too_small_to_matter_changes_nothing() -> None:
    limit = Limit()
    for number in range(1000):
        limit.observe(0.2 if number % 200 == 1 else 0.05, 0.0, SLO, 50, number / 1000)
    assert limit.seconds(10**9) == 0.0


def test_a_client_that_sends_slowly_makes_nobody_else_wait_outside() -> None:
    limit = Limit()
    for number in range(1000):
        limit.observe(9.0, 8.9, SLO, 50, number / 1000)
    assert limit.seconds(10**9) == 0.0


def test_it_recovers_from_a_stop_of_everything() -> None:
    """A hundred seconds in which nobody was answered in time must not keep everybody out for longer."""
    limit = Limit()
    now = _observe(limit, 100_000, inf, 1, 0.0)
    assert limit.seconds(2) > SLO
    _observe(limit, 500, 0.01, 1, now)
    assert limit.seconds(50) < SLO


def test_a_queue_that_five_times_as_many_ask_answers_nearly_all_it_lets_in() -> None:
    """One request after the other, at a rate that falls to a third halfway, unseen by any forecast."""
    limit, inside = Limit(), deque[float]()
    now = free = 0.0
    let_in = in_time = 0
    for step in range(40_000):
        now = step / 4000  # asked 4,000 a second, for ten seconds
        rate = 800 if now < 5 else 270
        while inside and free <= now:
            began = inside.popleft()
            limit.observe(free - began, 0.0, SLO, len(inside), free)
            if 1 < began < 5 or began > 6:
                in_time += free - began <= SLO
            free = max(free, began) + 1 / rate
        if len(inside) < 2 or limit.seconds(len(inside) + 1) <= SLO:
            if not inside:
                free = max(free, now + 1 / rate)
            inside.append(now)
            let_in += 1 < now < 5 or now > 6
    asked = 4 * 800 + 4 * 270
    assert in_time > 0.9 * asked, "it is busy"
    assert in_time > 0.97 * let_in, "and next to nobody waits for nothing"
