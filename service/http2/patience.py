"""How much a server bears of one client: limits, and since when it is waited for."""

from dataclasses import dataclass
from enum import Enum, auto

_PING_INTERVAL = 10.0  # seconds: clients that ping an idle connection more often are sent away, as gRPC's servers do
_PING_STRIKES = 2
_LEAVE_SECONDS = 1.0  # for a client to say that it has read a good-bye


@dataclass(frozen=True, slots=True)
class Limits:
    """`connections` in all; of one, `streams` at a time, `header_bytes` of a request, `window` bytes that a stream may
    be sent before it is read. In seconds: until a client has said something, for a request and for the taking of its
    answer, silence until a ping, and until that is answered.
    """

    connections: int
    streams: int
    header_bytes: int
    window: int
    header_seconds: float
    body_seconds: float
    keep_alive: float = 60.0
    keep_alive_timeout: float = 20.0


class Due(Enum):
    NOTHING = auto()
    PING = auto()
    GONE = auto()  # does not answer a ping
    SILENT = auto()  # has never said anything
    STUCK = auto()  # does not take what it is sent
    DISMISSED = auto()  # was told to leave, and need not be waited for


class Patience:
    """Moments are `time.monotonic()`'s. `heard`: of the last that came. `stuck`: since when nothing can be sent."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._unheard: float | None = now
        self._asked = 0.0  # when a ping was sent
        self._leaving: float | None = None
        self._pinged, self._strikes = 0.0, 0
        self.heard = now
        self.stuck: float | None = None

    @property
    def leaving(self) -> bool:
        return self._leaving is not None

    def greeted(self) -> None:
        self._unheard = None

    def leave(self, now: float) -> None:
        self._leaving = now

    def left(self) -> None:
        self._leaving = None

    def forgive(self) -> None:
        """Who was sent something may ping."""
        self._pinged, self._strikes = 0.0, 0

    def bears_ping(self) -> bool:
        self._strikes += self.heard - self._pinged < _PING_INTERVAL
        self._pinged = self.heard
        return self._strikes <= _PING_STRIKES

    def due(self, now: float) -> Due:
        """What there is to do. A PING is taken to be sent."""
        limits = self._limits
        if self.stuck is not None:
            return Due.STUCK if now - self.stuck > limits.body_seconds else Due.NOTHING
        if self._unheard is not None and now - self._unheard > limits.header_seconds:
            return Due.SILENT
        if self._leaving is not None and now - self._leaving > _LEAVE_SECONDS:
            return Due.DISMISSED
        if now - self.heard <= limits.keep_alive:
            return Due.NOTHING
        if self._asked <= self.heard:
            self._asked = now
            return Due.PING
        return Due.GONE if now - self._asked > limits.keep_alive_timeout else Due.NOTHING
