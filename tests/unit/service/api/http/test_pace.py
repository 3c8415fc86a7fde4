"""When refusals leave."""

from service.api.http.door import Pace


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
