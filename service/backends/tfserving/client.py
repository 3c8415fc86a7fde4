"""One request to several replicas: attempts, their budget, hedging. Only for requests that may be repeated."""

import asyncio
import random
import time
from dataclasses import dataclass

from grpc import StatusCode

from service.backends.tfserving import load_balancer
from service.backends.tfserving.channel import CallFailed
from service.backends.tfserving.load_balancer import Attempt
from service.backends.tfserving.replicas import Replica, Replicas
from service.observability.context import Metadata

_EXTRA = 0.2  # attempts that each request adds to the budget
_RESERVE = 100.0  # attempts at most in the budget: as many as may fail with one replica
_LEAST_PATIENCE = 0.5  # seconds
_TOO_LONG = 8.0  # times the slowest answer of late
_NEWEST, _FADING = 0.1, 0.99  # weight of the newest answer in the average; what is left of the slowest after it
_EXPIRED = {StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED}  # how servers end a call past its deadline
_NEAR = 0.05  # seconds by which a server's clock may be ahead

# Another replica may do better. Other statuses are about the request, and would be the same anywhere.
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
    """Bounds retries and hedges: a fifth of the requests, and a reserve for sudden losses."""

    def __init__(self) -> None:
        self._left = _RESERVE

    def earn(self) -> None:
        self._left = min(_RESERVE, self._left + _EXTRA)

    def spend(self) -> bool:
        """Takes one attempt; False where none is left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class Expected:
    """Seconds that answers of one kind take: `usual` on average (None before the first), `slowest` of late."""

    usual: float | None = None
    slowest: float = 0.0

    def learn(self, seconds: float) -> None:
        self.usual = seconds if self.usual is None else self.usual + _NEWEST * (seconds - self.usual)
        self.slowest = max(seconds, self.slowest * _FADING)

    def patience(self, most: float, left: float | None) -> float:
        """Seconds after which another replica is tried, at most `most`: far longer than recent answers took, yet with
        time for another attempt in the `left` seconds.
        """
        if self.usual is None:
            return most if left is None else min(most, max(left / 2, _LEAST_PATIENCE))
        patience = min(most, max(_LEAST_PATIENCE, _TOO_LONG * self.slowest))
        return patience if left is None else min(patience, max(left / 2, 2 * self.slowest))


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """A message to a replica that has a version of a model."""

    name: str
    version: int
    path: str
    message: bytes
    metadata: Metadata = ()


class Caller:
    """Owns the budget of all calls to `replicas`.

    `patience` bounds the seconds of one attempt while there is another replica to try. After `hedge_after` seconds
    (None: never) a second replica is tried beside the first.
    """

    def __init__(self, replicas: Replicas, patience: float, hedge_after: float | None) -> None:
        self.replicas, self.patience, self.hedge_after = replicas, patience, hedge_after
        self.budget = Budget()
        self.rng = random.Random()

    async def call(self, request: UpstreamCall, timeout: float | None, expected: Expected) -> bytes:
        """The answer of a replica that has the version. Raises CallFailed: the last failure, or NOT_FOUND where no
        replica has it.
        """
        self.budget.earn()
        return await _Request(self, request, timeout, expected).get_answer()


class _Request:
    """One request until it is answered: its attempts, under way and failed."""

    def __init__(self, caller: Caller, request: UpstreamCall, timeout: float | None, expected: Expected) -> None:
        self._caller, self._request, self._expected = caller, request, expected
        now = time.monotonic()
        self._deadline = None if timeout is None else now + timeout
        self._patience = expected.patience(caller.patience, timeout)
        self._impatient_at: float | None = None
        self._hedge_at = None if caller.hedge_after is None else now + caller.hedge_after
        self._running: dict[asyncio.Future[bytes], tuple[Replica, Attempt]] = {}
        self._tried: set[Replica] = set()
        self._failure = CallFailed(StatusCode.NOT_FOUND, "no replica has it")

    async def get_answer(self) -> bytes:
        try:
            if not self._try(self._pick_next()):
                raise self._failure
            while True:
                done, _ = await asyncio.wait(
                    self._running, timeout=self._until_next(), return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    self._act_on_time()
                for future in done:
                    answer = self._judge(future)
                    if answer is not None:
                        return answer
                if not self._running and not self._retry():
                    raise self._failure
        finally:
            self._give_up()

    def _pick_next(self) -> Replica | None:
        """The replica to try now: one that has not been tried."""
        having = self._caller.replicas.find_having(self._request.name, self._request.version)
        fresh = [replica for replica in having if replica not in self._tried] if self._tried else having
        if self._tried and not self._failure.lost:  # one that is out, or hangs, is no better
            fresh = [replica for replica in fresh if replica.standing.may_have_more]
        return load_balancer.pick(fresh, self._caller.rng) if fresh else None

    def _try(self, replica: Replica | None, *, retry: bool = False, hedge: bool = False) -> bool:
        if replica is None:
            return False
        now = time.monotonic()
        left = None if self._deadline is None else max(self._deadline - now, 0.001)
        self._tried.add(replica)
        replica.tally.attempts += 1
        replica.tally.retries += retry
        replica.tally.hedges += hedge
        attempt = replica.standing.begin(self._expected.usual)
        request = self._request
        future = replica.start(request.path, request.message, left, request.metadata)
        self._running[future] = replica, attempt
        self._impatient_at = now + self._patience
        return True

    def _until_next(self) -> float | None:
        moments = [at for at in (self._deadline, self._hedge_at, self._impatient_at) if at is not None]
        return max(min(moments) - time.monotonic(), 0.0) if moments else None

    def _act_on_time(self) -> None:
        """Hedges or retries when it is time to. Raises CallFailed at the deadline."""
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            raise self._make_late_failure()
        hedge = self._hedge_at is not None and now >= self._hedge_at
        if hedge:
            self._hedge_at = None
        elif self._impatient_at is not None and now >= self._impatient_at:
            self._impatient_at = None
        else:
            return
        another = self._pick_next()
        if another is not None and self._caller.budget.spend():
            if not hedge:
                self._give_up()
            self._try(another, hedge=hedge, retry=not hedge)

    def _make_late_failure(self) -> CallFailed:
        names = ", ".join(sorted(replica.name for replica in self._tried))
        return CallFailed(StatusCode.DEADLINE_EXCEEDED, f"{names} did not answer in time")

    def _retry(self) -> bool:
        """Tries another replica, if there is one and the budget allows; a retry after NOT_FOUND is free."""
        another = self._pick_next()
        if another is None:
            return False
        free = self._failure.status is StatusCode.NOT_FOUND
        return (free or self._caller.budget.spend()) and self._try(another, retry=True)

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
            if error.status in _EXPIRED and self._deadline is not None and time.monotonic() > self._deadline - _NEAR:
                standing.abandoned(attempt, patience=self._patience, spare=self._caller.replicas.spare)
                raise self._make_late_failure() from error
            if error.status is StatusCode.NOT_FOUND:
                replica.forget(self._request.name, self._request.version)
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
        """Cancels the attempts under way."""
        for future, (replica, attempt) in self._running.items():
            if not future.cancel() and not future.cancelled():
                future.exception()  # retrieved: its answer is too late
            replica.standing.abandoned(attempt, patience=self._patience, spare=self._caller.replicas.spare)
        self._running.clear()
