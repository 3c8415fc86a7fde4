"""What goes wrong is logged once a second and kind, however often it happens: a storm must not fill a disk."""

import logging
import time

from service.errors import Code, ServiceError
from service.types import ModelRef

_log = logging.getLogger("service.observability.error_log")
_INTERVAL = 1.0  # seconds

LEVELS: dict[Code, int] = {
    Code.NOT_FOUND: logging.INFO,
    Code.UNKNOWN_SIGNATURE: logging.INFO,
    Code.INVALID_INPUT: logging.INFO,
    Code.TOO_LARGE: logging.INFO,
    Code.UNSUPPORTED: logging.INFO,
    Code.UNSUPPORTED_ENCODING: logging.INFO,
    Code.UNAUTHENTICATED: logging.INFO,
    Code.FORBIDDEN: logging.INFO,
    Code.RATE_LIMITED: logging.INFO,
    Code.OVERLOADED: logging.WARNING,
    Code.NOT_READY: logging.WARNING,
    Code.DEADLINE: logging.INFO,
    Code.CANCELLED: logging.DEBUG,
    Code.BACKEND: logging.ERROR,
}


class FailureLog:
    """Remembers, for each code, when it last spoke and how often it has kept silent since."""

    def __init__(self) -> None:
        self._spoke: dict[Code, float] = {}
        self._silent: dict[Code, int] = {}

    def record(self, ref: ModelRef, error: ServiceError) -> None:
        """Logs a request's failure, or counts it; a failing model comes with its stack."""
        now = time.monotonic()
        if now - self._spoke.get(error.code, -_INTERVAL) < _INTERVAL:
            self._silent[error.code] = self._silent.get(error.code, 0) + 1
            return
        self._spoke[error.code] = now
        silent = self._silent.pop(error.code, 0)
        more = f" (and {silent} more like it)" if silent else ""
        stack = error if error.code is Code.BACKEND else None
        _log.log(LEVELS[error.code], "%s %.300r: %s%s", error.code, str(ref), error.for_log, more, exc_info=stack)
