"""Refusals for want of time or of room, before a body is read, a route looked for or a task started.

In a storm nearly every request is refused, and what a refusal takes of the event loop is taken from those that were let
in. So it is decided from a request's head and written in one piece, and refusals leave at a pace: whoever asks again at
once does so no faster. Whatever else may be wrong with a request is for its route to say.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from starlette.types import Scope

from service.api.http.apis import Apis
from service.api.http.errors import build_error_headers
from service.api.http.request import ARRIVED, DEADLINE, ROUTING_KEY, build_context
from service.errors import InvalidInput
from service.observability.access_log import Access
from service.observability.context import HEADERS, REQUEST_ID, begin_trace, traced
from service.predictor import Predictor
from service.security.authorizer import API_KEY, AUTHORIZATION, Gate

_SHARE = 0.04  # of the event loop's time, about, for requests that are refused
_UNSEEN = 4.0  # times what deciding takes: the way through the kernel and the parser, and back
_MOST_HELD = 500  # refusals that wait for their turn: more than most loops of clients have connections
_LONGEST = 1.0  # seconds that a refusal waits for its turn at most: no longer than its Retry-After says
_NEWEST = 0.05  # weight of the newest refusal in what one takes
_READ = frozenset(name.encode() for name in (*HEADERS, DEADLINE, ROUTING_KEY, AUTHORIZATION, API_KEY, "origin"))
_LINES = {status: f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" for status in (401, 403, 429)}
_DEAREST = 0.001  # seconds, at most, that are believed of one: others may have held Python's lock


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer: `head` without the empty line that ends it, so that a header may follow. It should leave in `wait`
    seconds, and `sent` is to be called then.
    """

    head: bytes
    body: bytes
    wait: float
    sent: Callable[[], None]


class Pace:
    """Owns the moment until which the refusals' share of the event loop is spent."""

    def __init__(self) -> None:
        self._cost, self._until, self._chance = 0.0, 0.0, random.Random()

    def wait(self, spent: float, now: float) -> float:
        """Seconds until a refusal that took `spent` seconds should leave."""
        self._cost += _NEWEST * (min(spent, _DEAREST) - self._cost)
        self._until = min(max(self._until, now) + self._cost * _UNSEEN / _SHARE, now + _LONGEST)
        # Where so many come that all wait the longest, those who came together do not leave together.
        return min(self._until - now, _LONGEST * (0.5 + self._chance.random() / 2))


class Held:
    """Owns the refusals that wait for their turn. The one that has waited longest makes room for one too many.

    A client of a closed loop that waits sends nothing meanwhile. Others come whatever happens, and then more wait than
    there are clients that holding them back could slow down.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.TimerHandle, Callable[[], None]] = {}

    def hold(self, loop: asyncio.AbstractEventLoop, seconds: float, send: Callable[[], None]) -> None:
        """Calls `send` in so many seconds, or earlier."""

        def leave() -> None:
            del self._waiting[timer]
            send()

        timer = loop.call_later(seconds, leave)
        self._waiting[timer] = send
        if len(self._waiting) > _MOST_HELD:
            first = next(iter(self._waiting))
            first.cancel()
            self._waiting.pop(first)()


class Reads:
    """Owns the moments at which the event loop took what its sockets have for it, once a turn: of a thousand requests
    that are read in one turn the last has waited for the others, and all of them for the turn before to end. Their
    clients count that time too.
    """

    def __init__(self) -> None:
        self._arrival, self._going_on = 0.0, False
        self._ended, self._worked = time.monotonic(), time.thread_time()

    def find_arrival(self, loop: asyncio.AbstractEventLoop) -> float:
        """When what is read just now had arrived, at the earliest it may have: a `time.monotonic()`."""
        if not self._going_on:
            self._going_on, now = True, time.monotonic()
            # The loop has worked since it last looked, or it has waited here for the very data that came.
            self._arrival = max(self._ended, now - (time.thread_time() - self._worked))
            loop.call_soon(self._end)  # after the last socket
        return self._arrival

    def _end(self) -> None:
        self._going_on, self._ended, self._worked = False, time.monotonic(), time.thread_time()


class Door:
    """What stands ahead of the application. With `cors`, requests from other origins' pages go to their routes: answers
    to them need headers.
    """

    def __init__(self, predictor: Predictor, gate: Gate, access: Access, apis: Apis, cors: bool) -> None:
        self._predictor, self._gate, self._access, self._apis, self._cors = predictor, gate, access, apis, cors
        self._pace, self.held, self.reads = Pace(), Held(), Reads()

    @property
    def draining(self) -> bool:
        return self._predictor.draining

    def refuse(self, scope: Scope) -> Refusal | None:
        """The answer to a request that is refused, which is counted; None for one that its route should answer."""
        began = time.monotonic()
        if scope["method"] != "POST" or (ref := self._apis.find_ref(scope)) is None:
            return None
        given = reversed(scope["headers"])  # of several of a name the first one counts
        headers = {name.decode(): value.decode("latin-1") for name, value in given if name in _READ}
        if self._cors and "origin" in headers:
            return None
        caller = self._gate.identify(headers, "http", needed=False)
        if not self._gate.shows(caller, ref.name):
            return None
        trace = begin_trace("http", *(headers.get(name, "") for name in HEADERS))
        raw_path: bytes = scope["raw_path"]
        trace.describe = partial(self._apis.describe_span, scope["method"], scope.get("scheme", "http"), raw_path)
        try:
            context = build_context(headers, trace, caller, scope.get(ARRIVED))
        except InvalidInput:
            return None
        with traced(trace):
            failure = self._predictor.refuse(context, ref)
        if failure is None:
            return None
        status, body = self._apis.render_error(scope, failure, trace.request_id)
        told = "".join(f"{name.lower()}: {value}\r\n" for name, value in build_error_headers(failure).items())
        head = (
            f"{_LINES[status]}content-length: {len(body)}\r\n{told}"
            f"content-type: application/json\r\n{REQUEST_ID}: {trace.request_id}\r\n"
        )
        what = f"POST {raw_path.decode('ascii', 'backslashreplace')}"
        sent = partial(self._access.finished, trace, what, str(status), len(body))
        now = time.monotonic()
        return Refusal(head.encode("latin-1"), body, self._pace.wait(now - began, now), sent)
