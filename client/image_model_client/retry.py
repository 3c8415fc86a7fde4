"""How a question is asked again, without any input or output of its own.

A flow is a generator: it yields what is to be done next, a request or a `Wait`, is given the reply, and returns the
result. `Client`, `AsyncClient` and `GrpcClient` carry flows out; what all of them know is written once.
"""

import random
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from image_model_client.errors import ClientError, DeadlineExceeded, Refused, Unreachable

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0  # seconds, where the service does not say how long
_MOST_PATIENCE = 60.0  # seconds; a service that asks for more is not waited for
_AGAIN = (429, 502, 503)  # 502: a proxy, whose service is being started anew

T = TypeVar("T")
Flow: TypeAlias = Generator[Any, Any, T]


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


def retry(
    build: Callable[[float | None], Any],
    explain: Callable[[Any], ClientError | None],
    deadline: float | None,
    retries: int,
) -> Flow[Any]:
    """The first reply that `explain` finds nothing wrong with. What is wrong for now is asked again up to `retries`
    times, after as long as the service says, or else after 0.1 s and longer each time.

    `deadline` is in seconds from now, for all tries together; `build` makes a request that may take so many seconds.
    Raises what `explain` says of the last reply.
    """
    end = None if deadline is None else time.monotonic() + deadline
    wait = _FIRST_WAIT
    for left in range(retries, -1, -1):
        reply = yield build(_find_time_left(end))
        if (error := explain(reply)) is None:
            return reply
        again = isinstance(error, Unreachable) or (isinstance(error, Refused) and error.status in _AGAIN)
        pause = getattr(error, "retry_after", None)
        pause = wait * random.uniform(0.5, 1.5) if pause is None else pause
        late = pause > _MOST_PATIENCE if end is None else time.monotonic() + pause >= end
        if left == 0 or not again or late:
            raise error
        yield Wait(pause)
        wait = min(2 * wait, _LONGEST_WAIT)
    raise ValueError(f"Invalid retries: expected a whole number from 0, got {retries}")


def _find_time_left(end: float | None) -> float | None:
    if end is None:
        return None
    if (left := end - time.monotonic()) <= 0.001:
        raise DeadlineExceeded("the deadline passed before the service was asked", 504, "DEADLINE")
    return left


def drive(flow: Flow[T], send: Callable[[Any], Any], stopped: threading.Event | None = None) -> T:
    """Carries a flow out in this thread. `stopped` ends its waiting, with ClientError."""
    reply = None
    try:
        while True:
            step = flow.send(reply)
            if not isinstance(step, Wait):
                reply = send(step)
                continue
            if stopped is None:
                time.sleep(step.seconds)
            elif stopped.wait(step.seconds):
                raise ClientError("nobody waits for this answer any more")
            reply = None
    except StopIteration as end:
        result: T = end.value
        return result
