"""When refusals leave, and when requests have come."""

import asyncio
import time
from functools import partial

from service.api.http.door import Held, Pace, Reads


def test_a_lone_refusal_leaves_at_once() -> None:
    pace = Pace()
    for second in range(100):
        assert pace.wait(0.0001, float(second)) < 0.02


def test_a_storm_of_refusals_gets_a_small_share_of_the_time() -> None:
    """256 clients that ask again at once: each refusal leaves when those before it have."""
    pace, now, sent = Pace(), 0.0, 0
    pending = [0.0] * 256
    while now < 10.0:
        now = max(now, min(pending))
        pending[pending.index(min(pending))] = now + pace.wait(0.0001, now)
        sent += now > 5.0
    assert 5 < sent * 0.0001 / 5.0 * 1000 < 40


def test_none_waits_longer_than_its_client_is_told() -> None:
    pace = Pace()
    waits = [pace.wait(0.001, 0.0) for _ in range(10_000)]
    assert 0.9 < max(waits) <= 1.0
    assert len({round(wait, 3) for wait in waits[-1000:]}) > 300, "nor do they all leave at the same moment"


async def test_a_refusal_leaves_in_its_time() -> None:
    left = asyncio.Event()
    Held().hold(asyncio.get_running_loop(), 0.01, left.set)
    assert not left.is_set()
    await asyncio.wait_for(left.wait(), 5)


async def test_one_too_many_sends_away_whoever_has_waited_longest() -> None:
    """Who asks whatever the answers are would wait in ever larger numbers, and hold as many connections."""
    held, left = Held(), list[int]()
    for number in range(1200):
        held.hold(asyncio.get_running_loop(), 60.0, partial(left.append, number))
    assert left == list(range(len(left))) and 200 <= len(left) <= 1100


async def test_a_request_may_have_come_as_soon_as_the_loop_last_looked() -> None:
    loop, reads = asyncio.get_running_loop(), Reads()
    reads.find_arrival(loop)
    await asyncio.sleep(0)
    began = time.thread_time()
    while time.thread_time() - began < 0.02:  # the loop is at work
        pass
    assert time.monotonic() - reads.find_arrival(loop) >= 0.02


async def test_a_loop_that_waits_for_a_request_has_it_at_once() -> None:
    loop, reads = asyncio.get_running_loop(), Reads()
    reads.find_arrival(loop)
    await asyncio.sleep(0.05)
    assert time.monotonic() - reads.find_arrival(loop) < 0.04
