"""Who gets a request, by a clock that the test turns."""

import random

from service.backends.tfserving import load_balancer
from service.backends.tfserving.load_balancer import Standing, State


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    def __init__(self, clock: Clock) -> None:
        self.standing = Standing(clock)


def state(standing: Standing) -> State:
    """mypy would take it for what it was a line before."""
    return standing.state


def answer(clock: Clock, standing: Standing, seconds: float, usual: float = 0.01, times: int = 1) -> None:
    for _ in range(times):
        attempt = standing.begin(usual)
        clock.now += seconds
        standing.answered(attempt)


def fail(standing: Standing, times: int = 1, **how: bool) -> None:
    for _ in range(times):
        standing.failed(standing.begin(), **how)


def test_the_one_with_less_work_gets_more() -> None:
    clock, rng = Clock(), random.Random(1)
    servers = [Server(clock) for _ in range(3)]
    for _ in range(300):
        chosen = load_balancer.pick(servers, rng)
        assert chosen is not None
        chosen.standing.begin(0.01)
    assert all(80 < server.standing.outstanding < 120 for server in servers)


def test_the_faster_one_gets_more() -> None:
    clock, rng = Clock(), random.Random(1)
    fast, slow = servers = [Server(clock), Server(clock)]
    answer(clock, fast.standing, 0.01, times=100)
    answer(clock, slow.standing, 0.03, times=100)
    for _ in range(40):
        chosen = load_balancer.pick(servers, rng)
        assert chosen is not None
        chosen.standing.begin(0.01)
    assert fast.standing.outstanding > 2 * slow.standing.outstanding > 0


def test_several_models_on_one_replica_do_not_make_it_slow() -> None:
    clock = Clock()
    light, heavy = servers = [Server(clock), Server(clock)]
    answer(clock, light.standing, 0.01, usual=0.01, times=50)
    answer(clock, heavy.standing, 1.0, usual=1.0, times=50)
    assert load_balancer.eject_slow(servers) is None
    assert abs(heavy.standing.slowness - 1) < 0.01 and heavy.standing.latency is not None


def test_one_that_keeps_a_request_waiting_gets_no_more() -> None:
    clock, rng = Clock(), random.Random(1)
    hung, well = servers = [Server(clock), Server(clock)]
    for server in servers:
        answer(clock, server.standing, 0.01, times=20)
    hung.standing.begin(0.01)
    clock.now += 0.2
    for _ in range(20):
        assert load_balancer.pick(servers, rng) is well
        answer(clock, well.standing, 0.01)


def test_three_failures_in_a_row_eject_and_an_answer_between_does_not() -> None:
    standing = Standing(clock := Clock())
    fail(standing, 2)
    answer(clock, standing, 0.01)
    fail(standing, 2)
    assert state(standing) is State.HEALTHY
    fail(standing)
    assert state(standing) is State.EJECTED and not standing.may_have_more


def test_half_of_the_answers_being_failures_ejects() -> None:
    standing = Standing(clock := Clock())
    for _ in range(9):
        answer(clock, standing, 0.001)
        fail(standing)
    assert state(standing) is State.HEALTHY
    answer(clock, standing, 0.001)
    fail(standing)
    answer(clock, standing, 0.001)
    fail(standing, 2)
    assert state(standing) is State.EJECTED


def test_suspicion_alone_does_not_eject_the_last_ones() -> None:
    clock = Clock()
    servers = [Server(clock) for _ in range(3)]
    assert load_balancer.has_spare(servers)
    servers[0].standing.eject()
    assert not load_balancer.has_spare(servers)
    fail(servers[1].standing, 10, spare=load_balancer.has_spare(servers))
    assert state(servers[1].standing) is State.HEALTHY
    fail(servers[1].standing, certain=True, spare=load_balancer.has_spare(servers))
    assert state(servers[1].standing) is State.EJECTED


def test_ejections_double_and_health_forgives() -> None:
    standing = Standing(clock := Clock())
    lengths = []
    for _ in range(8):
        standing.eject()
        began = clock.now
        while not standing.probe_due:
            clock.now += 0.5
        lengths.append(clock.now - began)
        standing.probed(answered=True)
        assert state(standing) is State.TRIAL
        fail(standing)
        assert state(standing) is State.EJECTED
        clock.now += 100
        standing.probed(answered=True)
        answer(clock, standing, 0.01)
        assert state(standing) is State.HEALTHY
    assert lengths[:3] == [1.0, 4.0, 16.0] and max(lengths) == 30.0
    clock.now += 61
    standing.eject()
    clock.now += 1
    assert standing.probe_due


def test_a_probe_without_an_answer_keeps_it_out() -> None:
    standing = Standing(clock := Clock())
    standing.eject()
    clock.now += 1
    assert standing.probe_due
    standing.probed(answered=False)
    assert not standing.probe_due and state(standing) is State.EJECTED
    clock.now += 2
    assert standing.probe_due


def test_on_trial_it_gets_one_request_at_a_time_and_gets_it_first() -> None:
    clock, rng = Clock(), random.Random(1)
    back, other = servers = [Server(clock), Server(clock)]
    back.standing.eject()
    assert load_balancer.pick(servers, rng) is other
    clock.now += 1
    back.standing.probed(answered=True)
    assert load_balancer.pick(servers, rng) is back
    attempt = back.standing.begin()
    assert load_balancer.pick(servers, rng) is other
    back.standing.answered(attempt)
    assert state(back.standing) is State.HEALTHY


def test_all_out_is_no_reason_to_ask_nobody() -> None:
    clock, rng = Clock(), random.Random(1)
    servers = [Server(clock) for _ in range(2)]
    for server in servers:
        server.standing.eject()
    servers[0].standing.begin()
    assert load_balancer.pick(servers, rng) is servers[1]
    assert load_balancer.pick([], rng) is None


def test_silence_for_the_whole_patience_ejects_at_once() -> None:
    clock = Clock()
    standing = Standing(clock)
    answer(clock, standing, 0.01)
    attempt = standing.begin(0.01)
    clock.now += 0.5
    standing.abandoned(attempt, patience=0.5)
    assert state(standing) is State.EJECTED


def test_one_slow_request_among_answers_does_not_eject() -> None:
    clock = Clock()
    standing = Standing(clock)
    attempt = standing.begin(0.01)
    answer(clock, standing, 0.01, times=60)
    standing.abandoned(attempt, patience=0.5)
    assert state(standing) is State.HEALTHY


def test_clients_that_leave_early_are_no_fault_of_a_replica() -> None:
    clock = Clock()
    standing = Standing(clock)
    for _ in range(20):
        attempt = standing.begin(0.01)
        clock.now += 0.1
        standing.abandoned(attempt, patience=0.5)
    assert state(standing) is State.HEALTHY and standing.outstanding == 0


def test_the_far_slowest_is_ejected_once_that_is_sure() -> None:
    clock = Clock()
    servers = [Server(clock) for _ in range(3)]
    for server in servers[1:]:
        answer(clock, server.standing, 0.01, times=40)
    answer(clock, servers[0].standing, 0.2, times=3)
    assert load_balancer.eject_slow(servers) is None, "three answers prove nothing"
    answer(clock, servers[0].standing, 0.2, times=35)
    assert load_balancer.eject_slow(servers) is servers[0]
    assert load_balancer.eject_slow(servers) is None
