"""How many requests may be inside at once, learned from whether those let in were in time.

A forecast knows queues and batches. What else a request waits for (the event loop, Python's lock, other models, a
machine that others use too) shows only in when it was answered, so it is learned from that: as TCP learns a path's
capacity from what is lost (Jacobson, SIGCOMM 1988), and Netflix's concurrency-limits that of a server.
"""

from math import inf

_LATE = 0.97  # of the time allowed: writing the answer and its way through the kernel are still to come
_COMFORTABLE = 0.92  # of the time allowed: there is room for more
_BEARABLE = 0.05  # of the requests of a window may be late: a machine that stumbles is no reason to let in fewer
_FEWEST = 20  # requests tell a share of late ones
_LONGEST = 20.0  # windows that those may take
_LESS, _MORE = 0.95, 1.03  # times the rate, after a window with too many late requests and after a comfortable one
_LEAST = 0.7  # of the rate that was answered in time: fewer inside would answer no more of them in time
_SAFE = 0.85  # of the rate that was answered in time: those inside then wait as much of the time allowed
_UNREAD = 0.5  # of the time allowed: a client that took more to send its body was late by itself


class Limit:
    """Owns the rate, in requests a second, at which those inside are taken to leave. By Little's law a request that
    finds n inside waits n / rate seconds.

    There is no limit until somebody is late. The rate is then what was answered lately, and falls and rises with what
    becomes of those let in; each step waits until the last one has shown.
    """

    def __init__(self) -> None:
        self._rate = inf
        self._since, self._ended, self._late, self._slow = -inf, 0, 0, 0

    def seconds(self, inside: int) -> float:
        """Until one that comes after `inside` others is answered."""
        return inside / self._rate

    def observe(self, took: float, reading: float, allowed: float, inside: int, now: float) -> None:
        """A request has left after `took` of the `allowed` seconds, of which its client took `reading` to send it;
        `inside` others are still there.
        """
        if allowed <= 0 or reading > _UNREAD * allowed:
            return
        if now - self._since > _LONGEST * allowed:
            self._begin(now)
        share = took / allowed
        self._ended += 1
        self._late += share > _LATE
        self._slow += share > _COMFORTABLE
        seconds = now - self._since
        if seconds < allowed or self._ended < _FEWEST:
            return
        in_time = (self._ended - self._late) / seconds
        if self._late > _BEARABLE * self._ended:
            cut = min(self._rate, max(1, inside) / allowed) * (_LESS - self._late / self._ended / 2)
            self._rate = min(self._rate, max(cut, _LEAST * in_time, 1 / allowed))
        elif self._slow <= _BEARABLE * self._ended:
            self._rate = max(_SAFE * in_time, _MORE * self._rate)
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._since, self._ended, self._late, self._slow = now, 0, 0, 0
