"""A job from its first user to its last answer: an open loop, a closed one, or MLPerf's."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import LocalRunner

from loadtest.generator import mlperf, photos, protocols
from loadtest.generator.arrivals import Arrivals
from loadtest.generator.dispatcher import Turn, Turns
from loadtest.generator.jobs import Closed, Job, MLPerf, Outcome
from loadtest.generator.recorder import Recorder
from loadtest.generator.timer import Alarm
from loadtest.generator.users import USERS

_LEAD = 0.05  # seconds between a load's begin and its first start
_AHEAD = 0.25  # seconds before the warm-up's end at which that is told: who hears it looks at the service first
_FEWEST, _MOST = 32, 1000  # users of an open loop, which gets more whenever starts wait for one
_OFFLINE_USERS = 64
_WARM_UP_USERS = 4
_PROGRESS = 0.25

Emit = Callable[[dict[str, Any]], None]


def perform(job: Job, emit: Emit, stop: Event) -> Outcome:
    """One job from its first user to its last answer."""
    turns = Turns()
    images = [photos.tiny()] if not job.photos else [Path(path).read_bytes() for path in job.photos]
    asked = protocols.requests(job.protocol, job.model, job.alias, images)
    base = USERS[job.protocol]
    chosen = {"turns": turns, "requests": asked, "patience": job.timeout, "host": job.url, "address": job.grpc}
    kind = type(base.__name__, (base,), chosen)
    runner = Environment(user_classes=[kind]).create_local_runner()
    try:
        crowd = _Crowd(runner, kind.__name__, *_users(job.load))
        turns.on_line = crowd.grow
        outcome = _LOADS[type(job.load)](job, turns, emit, stop)
        outcome.crowded = crowd.short
        return outcome
    finally:
        runner.quit()


def _users(load: Arrivals | Closed | MLPerf) -> tuple[int, int]:
    """How many at first, and at most."""
    match load:
        case Closed(concurrency=concurrency):
            return concurrency, concurrency
        case MLPerf(scenario="Offline"):
            return _OFFLINE_USERS, _OFFLINE_USERS
        case _:
            return _FEWEST, _MOST


class _Crowd:
    """Users enough for all who should have started: an open loop's number of them is the service's doing."""

    def __init__(self, runner: LocalRunner, kind: str, first: int, most: int) -> None:
        self._runner, self._kind, self._count, self._most = runner, kind, first, most
        self.short = False
        runner.start(first, spawn_rate=first)
        while runner.user_count < first:
            gevent.sleep(0.005)

    def grow(self, waiting: int) -> None:
        more = min(self._count, self._most - self._count)
        if more:
            self._count += more
            gevent.spawn(self._runner.spawn_users, {self._kind: more})  # LoadGen's bell rings where nothing may block
        elif self._most == _MOST and waiting > more:
            self.short = True


class _Ending:
    """Why a load ended before its time, the first reason of several."""

    def __init__(self, stop: Event) -> None:
        self.reason: str | None = None
        self._stop = stop

    def __call__(self, reason: str) -> None:
        self.reason = self.reason or reason

    @property
    def asked(self) -> bool:
        if self._stop.is_set():
            self("stopped")
        return self.reason is not None


def _open(job: Job, turns: Turns, emit: Emit, stop: Event) -> Outcome:
    assert isinstance(job.load, Arrivals)
    zero = time.monotonic() + _LEAD + _AHEAD
    begin = zero + job.warm_up
    return _paced(job, turns, emit, stop, begin, (zero + start for start in _with_warm_up(job)))


def _with_warm_up(job: Job) -> Iterator[float]:
    """The warm-up is the same load at the same rate, ahead of the schedule proper."""
    assert isinstance(job.load, Arrivals)
    warming = Arrivals(job.load.rate, job.warm_up, "steady")
    yield from warming.starts()
    yield from (job.warm_up + start for start in job.load.starts())


def _paced(job: Job, turns: Turns, emit: Emit, stop: Event, begin: float, moments: Iterator[float]) -> Outcome:
    ending = _Ending(stop)
    recorder = Recorder(job, begin, ending)
    turns.on_given, turns.on_done = recorder.given, recorder.done
    helpers = [gevent.spawn(recorder.watch_cpu), gevent.spawn(_tell, job, recorder, emit)]
    alarm = Alarm()
    try:
        for number, moment in enumerate(moments):
            if moment - time.monotonic() > _PROGRESS:  # a slow schedule is left as promptly as a fast one
                while not ending.asked and moment - time.monotonic() > _PROGRESS:
                    gevent.sleep(_PROGRESS / 2)
            if ending.asked:
                break
            alarm.wait_until(moment)
            turns.give(Turn(number, moment))
        until = time.monotonic() if ending.asked else begin + job.load.seconds
        while turns.under_way and not ending.asked and time.monotonic() < until + job.timeout + 1:
            gevent.sleep(0.005)
        if ending.asked:
            turns.forget_those_in_line()
            turns.drain(job.timeout if ending.reason != "stopped" else 2.0)
        return recorder.outcome(until, ending.reason)
    finally:
        alarm.close()
        gevent.killall(helpers)


def _closed(job: Job, turns: Turns, emit: Emit, stop: Event) -> Outcome:
    assert isinstance(job.load, Closed)
    begin = time.monotonic() + _AHEAD + job.warm_up
    until = begin + job.load.seconds
    ending = _Ending(stop)
    recorder = Recorder(job, begin, ending)
    number = job.load.concurrency

    def again(turn: Turn) -> None:
        nonlocal number
        recorder.done(turn)
        if time.monotonic() < until and not ending.asked:
            number += 1
            turns.give(Turn(number, time.monotonic()))

    turns.on_given, turns.on_done = recorder.given, again
    helpers = [gevent.spawn(recorder.watch_cpu), gevent.spawn(_tell, job, recorder, emit)]
    for first in range(job.load.concurrency):
        turns.give(Turn(first, time.monotonic()))
    try:
        while turns.under_way and time.monotonic() < until + job.timeout + 1:
            gevent.sleep(0.005)
        return recorder.outcome(min(until, time.monotonic()), ending.reason)
    finally:
        gevent.killall(helpers)


def _mlperf(job: Job, turns: Turns, emit: Emit, stop: Event) -> Outcome:
    """LoadGen knows no warm-up and cannot be stopped: the one comes before it, for the other its process is ended."""
    assert isinstance(job.load, MLPerf)
    until = time.monotonic() + job.warm_up

    def again(turn: Turn) -> None:
        if time.monotonic() < until:
            turns.give(Turn(turn.number + _WARM_UP_USERS, time.monotonic()))

    turns.on_done = again
    for first in range(_WARM_UP_USERS if job.warm_up else 0):
        turns.give(Turn(first, time.monotonic()))
    turns.drain(job.warm_up + job.timeout)
    recorder = Recorder(job, time.monotonic(), lambda reason: None)
    helper = gevent.spawn(recorder.watch_cpu)
    emit({"event": "measuring"})
    gevent.sleep(_AHEAD)
    try:
        return mlperf.run(job.load, max(1, len(job.photos)), turns, recorder)
    finally:
        gevent.kill(helper)


def _tell(job: Job, recorder: Recorder, emit: Emit) -> None:
    """The end of the warm-up, then how far it is."""
    gevent.sleep(max(0.0, recorder.begin - _AHEAD - time.monotonic()))
    emit({"event": "measuring"})
    while True:
        gevent.sleep(_PROGRESS)
        emit({"event": "progress", "seconds": time.monotonic() - recorder.begin, "answers": recorder.answered})


_LOADS: dict[type, Callable[[Job, Turns, Emit, Event], Outcome]] = {Arrivals: _open, Closed: _closed, MLPerf: _mlperf}
