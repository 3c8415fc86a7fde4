"""Which replica gets a request, and which is ejected for a while. No I/O: a clock comes in, verdicts go out.

      no connection; 3 failures in a row; half of 20 failed;
      silence; five times slower than the others
HEALTHY ─────────────────────────────────────────────────> EJECTED for 1 s, 2 s, ... 30 s
   ^                                                         │  ^
   │ answers                          a status call succeeds │  │ fails: twice as long
   └──────────── TRIAL, one request at a time <──────────────┘  │
                   └────────────────────────────────────────────┘
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from statistics import median
from typing import Protocol, TypeVar

Clock = Callable[[], float]

_MEMORY = 5.0  # seconds after which an observation counts a third
_UNKNOWN = 0.5  # of the usual time: the assumption for a replica without recent answers
_NEWEST = 0.05  # least weight of the newest answer in an average
_IN_A_ROW = 3  # failures that eject
_SAMPLES, _FAILED_SHARE = 20.0, 0.5  # recent answers, and the share of failures among them that ejects
_SLOWER, _SLOW, _ANSWERS = 5.0, 0.05, 5.0  # times the others' median, seconds at least, answers that prove it
_FIRST_EJECTION, _LONGEST_EJECTION = 1.0, 30.0  # seconds
_FORGIVEN = 60.0  # seconds of health after which the next ejection is a first one again


class State(StrEnum):
    HEALTHY = "healthy"
    EJECTED = "ejected"
    TRIAL = "trial"


class Attempt:
    """One request at one replica, from `Standing.begin` to one of `answered`, `failed`, `released`, `abandoned`.

    `usual` is the average seconds of such a request on any replica; None before the first.
    """

    __slots__ = ("began", "usual")

    def __init__(self, began: float, usual: float | None) -> None:
        self.began, self.usual = began, usual


class Standing:
    """One replica's work, speed and state.

    `latency` is an average in seconds. `slowness` is an average in multiples of each request's usual time: only so do
    several models and batch sizes compare.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._attempts: dict[Attempt, None] = {}  # oldest first
        self._measured = self._heard = -math.inf
        self._failures_in_a_row = 0
        self._answers = self._failures = 0.0  # recent ones, fading
        self._counted = clock()
        self._ejections = 0
        self._since = -math.inf  # of the present state
        self._until = 0.0
        self.state = State.HEALTHY
        self.latency: float | None = None
        self.slowness = 1.0

    @property
    def outstanding(self) -> int:
        return len(self._attempts)

    @property
    def may_have_more(self) -> bool:
        return self.state is State.HEALTHY or (self.state is State.TRIAL and not self._attempts)

    @property
    def probe_due(self) -> bool:
        return self.state is State.EJECTED and self._clock() >= self._until

    @property
    def proven_slow(self) -> bool:
        """Whether `slowness` rests on enough answers, and is large enough to matter."""
        return self._answers >= _ANSWERS and self.latency is not None and self.latency >= _SLOW

    def cost(self) -> float:
        """The expected time of one more request, in multiples of the usual.

        Old observations fade, so that every replica is tried now and then. A request that has been waiting for long
        counts at once, so that a replica that hangs is avoided before it is ejected.
        """
        now = self._clock()
        slowness = self.slowness * max(math.exp((self._measured - now) / _MEMORY), _UNKNOWN)
        if self._attempts:
            oldest = next(iter(self._attempts))
            if oldest.usual:
                slowness = max(slowness, (now - oldest.began) / oldest.usual)
        return slowness * (len(self._attempts) + 1)

    def begin(self, usual: float | None = None) -> Attempt:
        attempt = Attempt(self._clock(), usual)
        self._attempts[attempt] = None
        return attempt

    def answered(self, attempt: Attempt) -> float:
        """The replica works: its model answered, if only with a refusal. Returns the seconds it took."""
        now = self._end(attempt)
        self._heard = now
        self._failures_in_a_row = 0
        if self.state is not State.HEALTHY:
            self._enter(State.HEALTHY)
        self._measure(now - attempt.began, attempt.usual, now)
        self._count(now, failed=False)
        return now - attempt.began

    def failed(self, attempt: Attempt, *, certain: bool = False, spare: bool = True) -> None:
        """`certain`: there is no connection. `spare`: the other replicas could take its work; without them only a
        certain failure ejects.
        """
        now = self._end(attempt)
        self._failures_in_a_row += 1
        self._count(now, failed=True)
        counted = self._answers + self._failures
        often = counted >= _SAMPLES and self._failures >= _FAILED_SHARE * counted
        if certain or self.state is State.TRIAL or (spare and (often or self._failures_in_a_row >= _IN_A_ROW)):
            self.eject(lasting=not certain)

    def released(self, attempt: Attempt) -> None:
        """The attempt ended in a way that shows nothing about the replica."""
        self._end(attempt)

    def abandoned(self, attempt: Attempt, *, patience: float, spare: bool = True) -> None:
        """The caller stopped waiting. After `patience` seconds the replica is to blame; if it has answered no other
        attempt meanwhile, it hangs.
        """
        now = self._end(attempt)
        if now - attempt.began < patience:
            return
        self._measure(now - attempt.began, attempt.usual, now)
        self._failures_in_a_row += 1
        hangs = self._heard <= attempt.began or self._failures_in_a_row >= _IN_A_ROW
        if self.state is State.TRIAL or (spare and hangs):
            self.eject()

    def eject(self, *, lasting: bool = True) -> None:
        """Ejects for twice as long as the last time; if not `lasting`, for the shortest time."""
        if self.state is State.EJECTED:
            return
        if self.state is State.HEALTHY and self._clock() - self._since > _FORGIVEN:
            self._ejections = 0
        self._enter(State.EJECTED)
        self._stay_out(lasting)

    def probed(self, *, answered: bool, lasting: bool = True) -> None:
        """The result of a status call that was made because `probe_due`. `lasting` as in `eject`."""
        if self.state is not State.EJECTED:
            return
        if answered:
            self._enter(State.TRIAL)
        else:
            self._stay_out(lasting)

    def _stay_out(self, lasting: bool) -> None:
        if not lasting:  # a failed connection costs nothing, so the next try comes soon
            self._until = self._clock() + _FIRST_EJECTION
            return
        self._until = self._clock() + min(_FIRST_EJECTION * 2**self._ejections, _LONGEST_EJECTION)
        self._ejections = min(self._ejections + 1, 10)

    def _enter(self, state: State) -> None:
        self.state, self._since = state, self._clock()
        self._failures_in_a_row = 0
        self._answers = self._failures = 0.0
        self.slowness = 1.0  # it may have changed

    def _end(self, attempt: Attempt) -> float:
        del self._attempts[attempt]
        return self._clock()

    def _measure(self, seconds: float, usual: float | None, now: float) -> None:
        new = max(1 - math.exp((self._measured - now) / _MEMORY), _NEWEST)
        self._measured = now
        self.latency = seconds if self.latency is None else self.latency + new * (seconds - self.latency)
        if usual:
            self.slowness += new * (seconds / usual - self.slowness)

    def _count(self, now: float, *, failed: bool) -> None:
        fade = math.exp((self._counted - now) / _MEMORY)
        self._counted = now
        self._answers = self._answers * fade + (not failed)
        self._failures = self._failures * fade + failed


class Ranked(Protocol):
    @property
    def standing(self) -> Standing: ...


Some = TypeVar("Some", bound=Ranked)


def pick(replicas: Sequence[Some], rng: random.Random) -> Some | None:
    """The better of two random replicas that may have more (Mitzenmacher, "The Power of Two Choices", 2001).

    One on trial goes first, or it would never be tried. Where none may have more, it is the one with the least work.
    """
    if len(replicas) == 1:
        return replicas[0]
    healthy: list[Some] = []
    for replica in replicas:
        if replica.standing.may_have_more:
            if replica.standing.state is State.TRIAL:
                return replica
            healthy.append(replica)
    if len(healthy) < 2:
        return healthy[0] if healthy else min(replicas, key=lambda each: each.standing.outstanding, default=None)
    one, other = rng.sample(healthy, 2)
    return one if one.standing.cost() <= other.standing.cost() else other


def has_spare(replicas: Iterable[Ranked]) -> bool:
    """Whether one more may be ejected on suspicion: half of the replicas, and at least one, must stay."""
    states = [replica.standing.state for replica in replicas]
    left = states.count(State.HEALTHY) - 1
    return left >= 1 and 2 * left >= len(states)


def eject_slow(replicas: Sequence[Some]) -> Some | None:
    """Ejects and returns the slowest replica if it is far slower than the others."""
    healthy = [replica for replica in replicas if replica.standing.state is State.HEALTHY]
    if len(healthy) < 2 or not has_spare(replicas):
        return None
    slowest = max(healthy, key=lambda each: each.standing.slowness)
    others = median(each.standing.slowness for each in healthy if each is not slowest)
    if not slowest.standing.proven_slow or slowest.standing.slowness < _SLOWER * others:
        return None
    slowest.standing.eject()
    return slowest
