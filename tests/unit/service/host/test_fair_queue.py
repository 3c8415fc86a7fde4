"""Places among parties: nobody starves, nothing idles while somebody waits, nothing is given twice."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from service.host.fair_queue import Party, Places, Turns


def test_the_least_served_party_is_next() -> None:
    places = Places(1)
    woken: list[str] = []
    hot, quiet = places.party(lambda: woken.append("hot")), places.party(lambda: woken.append("quiet"))
    assert hot.enter(5.0)
    assert not hot.enter(5.0) and not quiet.enter(1.0)
    hot.leave()
    assert woken == ["quiet"]


def test_time_away_saves_up_nothing() -> None:
    """Who comes after a long silence goes before a hot neighbour once, not until it has caught up."""
    places = Places(1)
    hot, back = places.party(lambda: None), places.party(lambda: None)
    for _ in range(1000):
        assert hot.enter(1.0)
        hot.leave()
    assert back.enter(1.0)
    assert not hot.enter(1.0) and not back.enter(1.0)
    back.leave()
    order = []
    for _ in range(10):
        first, other = (hot, back) if hot.enter(1.0) else (back, hot)
        if first is back:
            assert back.enter(1.0)
        order.append(first)
        first.leave()
        if other.enter(0.0):
            other.leave()
    assert order.count(hot) >= 4


def test_a_party_that_needs_two_places_is_not_overtaken_for_ever() -> None:
    places = Places(2)
    wide = places.party(lambda: None, weight=2)
    narrow = places.party(lambda: None)
    assert narrow.enter(1.0)
    assert not wide.enter(1.0)
    assert not narrow.enter(1.0), "the free place is kept for who has been served less"
    narrow.leave()
    assert wide.enter(1.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), places=st.integers(1, 4), parties=st.integers(1, 5))
def test_turns_never_exceed_the_places_and_always_come(seed: int, places: int, parties: int) -> None:
    chance = random.Random(seed)
    busy = most = done = 0

    async def member(turns: Turns) -> None:
        nonlocal busy, most, done
        await asyncio.sleep(chance.random() * 0.01)
        await turns.take(chance.random())
        busy += 1
        most = max(most, busy)
        try:
            await asyncio.sleep(chance.random() * 0.001)
        finally:
            busy -= 1
            turns.leave()
        done += 1

    async def scenario() -> None:
        shared = Places(places)
        lines = [Turns(shared) for _ in range(parties)]
        tasks = [asyncio.create_task(member(chance.choice(lines))) for _ in range(100)]
        await asyncio.sleep(0.004)
        cancelled = sum(task.cancel() for task in chance.sample(tasks, 30))
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        assert done >= 100 - cancelled and busy == 0 and most <= places
        for line in lines:  # every place came back
            await asyncio.wait_for(line.take(0.0), 1)
            line.leave()

    asyncio.run(scenario())


def test_waiting_parties_share_in_proportion_to_nothing_but_time() -> None:
    """One model's turns take ten times as long: each still gets about half of the time."""

    async def scenario() -> dict[str, float]:
        places, served = Places(1), {"long": 0.0, "short": 0.0}

        async def members(name: str, seconds: float, turns: Turns) -> None:
            while sum(served.values()) < 40:
                await turns.take(seconds)
                served[name] += seconds
                await asyncio.sleep(0)
                turns.leave()

        long, short = Turns(places), Turns(places)
        await asyncio.gather(
            *(members("long", 1.0, long) for _ in range(3)), *(members("short", 0.1, short) for _ in range(3))
        )
        return served

    served = asyncio.run(scenario())
    assert 0.4 < served["long"] / sum(served.values()) < 0.6, served


def test_giving_up_lets_the_next_one_in() -> None:
    places = Places(1)
    entered: list[Party] = []
    first = places.party(lambda: first.give_up())
    second = places.party(lambda: entered.append(second) if second.enter(1.0) else None)
    holder = places.party(lambda: None)
    assert holder.enter(1.0)
    assert not first.enter(1.0) and not second.enter(1.0)
    holder.leave()
    assert entered == [second]
