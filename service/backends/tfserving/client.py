"""One request to whichever replica answers it: attempts, their budget, hedging. Only for what may be asked twice."""

import asyncio
import random
import time
from dataclasses import dataclass

from grpc import StatusCode

from service.backends.tfserving import load_balancer as balancing
from service.backends.tfserving.channel import CallFailed
from service.backends.tfserving.load_balancer import Attempt
from service.backends.tfserving.replicas import Replica, Replicas
from service.observability.context import Metadata

_EXTRA = 0.2  # attempts that each request pays for, beside its own
_RESERVE = 100.0  # extra attempts at once: as many as die with a replica
_LEAST_PATIENCE = 0.5  # seconds
_TOO_LONG = 8.0  # times the slowest answer of late
_NEWEST, _FADING = 0.1, 0.99  # of the average and of the slowest, by answers
_GAVE_UP = {StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED}  # how servers end a call whose deadline has passed
_NEAR = 0.05  # seconds: they are told it a little before we look

# Another replica may do better. The rest are verdicts on the request, which would be the same anywhere.
_WORTH_ANOTHER = {
    StatusCode.UNAVAILABLE,
    StatusCode.INTERNAL,
    StatusCode.UNKNOWN,
    StatusCode.ABORTED,
    StatusCode.DATA_LOSS,
    StatusCode.CANCELLED,
    StatusCode.RESOURCE_EXHAUSTED,
}


class Budget:
    """Bounds what retries and hedges may add: a fifth of the requests, and a reserve for sudden deaths."""

    def __init__(self) -> None:
        self._left = _RESERVE

    def earn(self) -> None:
        self._left = min(_RESERVE, self._left + _EXTRA)

    def spend(self) -> bool:
        """False, taking nothing, where there is nothing left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class Expected:
    """Seconds that answers of one kind take: on average, and the slowest of late. None where none has come yet."""

    usual: float | None = None
    slowest: float = 0.0

    def learn(self, seconds: float) -> None:
        self.usual = seconds if self.usual is None else self.usual + _NEWEST * (seconds - self.usual)
        self.slowest = max(seconds, self.slowest * _FADING)

    def patience(self, most: float, left: float | None) -> float:
        """Seconds after which somebody else is asked: far beyond any answer of late, yet early enough that there is
        time for another attempt.
        """
        if self.usual is None:
            return most if left is None else min(most, max(left / 2, _LEAST_PATIENCE))
        patience = min(most, max(_LEAST_PATIENCE, _TOO_LONG * self.slowest))
        return patience if left is None else min(patience, max(left / 2, 2 * self.slowest))


@dataclass(frozen=True, slots=True)
class Question:
    """A message to whoever has a version of a model."""

    name: str
    version: int
    path: str
    message: bytes
    metadata: Metadata = ()


class Caller:
    """Owns the budget of everything that goes to `replicas`.

    `patience` bounds the seconds one attempt may take while there is somebody else to ask; `hedge_after` (None: never)
    are the seconds after which somebody else is asked as well.
    """

    def __init__(self, replicas: Replicas, patience: float, hedge_after: float | None) -> None:
        self.replicas, self.patience, self.hedge_after = replicas, patience, hedge_after
        self.budget = Budget()
        self.rng = random.Random()

    async def call(self, question: Question, timeout: float | None, expected: Expected) -> bytes:
        """The answer of one of the replicas that have the version. Raises CallFailed: the last failure, or NOT_FOUND
        where there is nobody to ask.
        """
        self.budget.earn()
        return await _Request(self, question, timeout, expected).answer()


class _Request:
    """One request until it is answered: the attempts under way, and those that came to nothing."""

    def __init__(self, caller: Caller, question: Question, timeout: float | None, expected: Expected) -> None:
        self._caller, self._question, self._expected = caller, question, expected
        now = time.monotonic()
        self._deadline = None if timeout is None else now + timeout
        self._patience = expected.patience(caller.patience, timeout)
        self._impatient_at: float | None = None
        self._hedge_at = None if caller.hedge_after is None else now + caller.hedge_after
        self._running: dict[asyncio.Future[bytes], tuple[Replica, Attempt]] = {}
        self._asked: set[Replica] = set()
        self._failure = CallFailed(StatusCode.NOT_FOUND, "no replica has it")

    async def answer(self) -> bytes:
        try:
            if not self._ask(self._next()):
                raise self._failure
            while True:
                done, _ = await asyncio.wait(
                    self._running, timeout=self._until_next(), return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    self._on_time()
                for future in done:
                    answer = self._judge(future)
                    if answer is not None:
                        return answer
                if not self._running and not self._again():
                    raise self._failure
        finally:
            self._give_up()

    def _next(self) -> Replica | None:
        """Whom to ask now: somebody new."""
        having = self._caller.replicas.having(self._question.name, self._question.version)
        fresh = [replica for replica in having if replica not in self._asked] if self._asked else having
        if self._asked and not self._failure.lost:  # whoever is out, or hangs, is no better than the failure we have
            fresh = [replica for replica in fresh if replica.standing.may_have_more]
        return balancing.pick(fresh, self._caller.rng) if fresh else None

    def _ask(self, replica: Replica | None, *, retry: bool = False, hedge: bool = False) -> bool:
        if replica is None:
            return False
        now = time.monotonic()
        left = None if self._deadline is None else max(self._deadline - now, 0.001)
        self._asked.add(replica)
        replica.tally.attempts += 1
        replica.tally.retries += retry
        replica.tally.hedges += hedge
        attempt = replica.standing.begin(self._expected.usual)
        question = self._question
        future = replica.start(question.path, question.message, left, question.metadata)
        self._running[future] = replica, attempt
        self._impatient_at = now + self._patience
        return True

    def _until_next(self) -> float | None:
        moments = [at for at in (self._deadline, self._hedge_at, self._impatient_at) if at is not None]
        return max(min(moments) - time.monotonic(), 0.0) if moments else None

    def _on_time(self) -> None:
        """Nobody has answered, and it is time for something. Raises CallFailed at the deadline."""
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            raise self._too_late()
        if self._hedge_at is not None and now >= self._hedge_at:
            self._hedge_at = None
            another = self._next()
            if another is not None and self._caller.budget.spend():
                self._ask(another, hedge=True)
        elif self._impatient_at is not None and now >= self._impatient_at:
            self._impatient_at = None
            another = self._next()
            if another is not None and self._caller.budget.spend():
                self._give_up()
                self._ask(another, retry=True)

    def _too_late(self) -> CallFailed:
        asked = ", ".join(sorted(replica.name for replica in self._asked))
        return CallFailed(StatusCode.DEADLINE_EXCEEDED, f"{asked} did not answer in time")

    def _again(self) -> bool:
        """Asks another replica, where there is one and the budget allows; what cost nobody anything is free."""
        another = self._next()
        if another is None:
            return False
        free = self._failure.status is StatusCode.NOT_FOUND
        return (free or self._caller.budget.spend()) and self._ask(another, retry=True)

    def _judge(self, future: "asyncio.Future[bytes]") -> bytes | None:
        """The answer; None where another replica may do better. Raises CallFailed where none would."""
        replica, attempt = self._running.pop(future)
        standing = replica.standing
        try:
            answer = future.result()
        except CallFailed as error:
            self._failure = error
            error.peer = replica.name
            replica.tally.failures += 1
            if error.status in _GAVE_UP and self._deadline is not None and time.monotonic() > self._deadline - _NEAR:
                standing.abandoned(attempt, patience=self._patience, spare=self._caller.replicas.spare)
                raise self._too_late() from error
            if error.status is StatusCode.NOT_FOUND:
                replica.lose(self._question.name, self._question.version)
                standing.released(attempt)
            elif error.status is StatusCode.RESOURCE_EXHAUSTED:
                standing.released(attempt)
            elif error.status in _WORTH_ANOTHER:
                standing.failed(attempt, certain=error.lost, spare=self._caller.replicas.spare)
            else:
                standing.answered(attempt)
                raise
            return None
        except BaseException:
            standing.released(attempt)
            raise
        self._expected.learn(standing.answered(attempt))
        return answer

    def _give_up(self) -> None:
        """Cancels what is under way."""
        for future, (replica, attempt) in self._running.items():
            if not future.cancel() and not future.cancelled():
                future.exception()  # it came too late for anybody to care
            replica.standing.abandoned(attempt, patience=self._patience, spare=self._caller.replicas.spare)
        self._running.clear()
