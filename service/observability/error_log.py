"""Failures in the log: at most one line a second of each code, so that a storm does not fill a disk."""

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
    """Owns, for each code, the time of its last line and the count of failures since."""

    def __init__(self) -> None:
        self._logged: dict[Code, float] = {}
        self._unlogged: dict[Code, int] = {}

    def record(self, ref: ModelRef, error: ServiceError) -> None:
        """Logs the failure of a request, or counts it. The failure of a model is logged with its stack."""
        now = time.monotonic()
        if now - self._logged.get(error.code, -_INTERVAL) < _INTERVAL:
            self._unlogged[error.code] = self._unlogged.get(error.code, 0) + 1
            return
        self._logged[error.code] = now
        unlogged = self._unlogged.pop(error.code, 0)
        more = f" (and {unlogged} more like it)" if unlogged else ""
        stack = error if error.code is Code.BACKEND else None
        _log.log(LEVELS[error.code], "%s %.300r: %s%s", error.code, str(ref), error.for_log, more, exc_info=stack)
