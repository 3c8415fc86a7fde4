"""Token buckets: a rate a second, and a burst after a quiet time."""

import fcntl
import os
import struct
import time
from pathlib import Path
from typing import Protocol

_STATE = struct.Struct("dd")  # tokens, and when there were so many (`time.monotonic()`, which all processes share)


class Bucket(Protocol):
    def take(self) -> float:
        """0.0 and one token less, or the seconds until there will be one."""


class OwnBucket:
    """Holds up to `size` tokens, refilled with `rate` a second."""

    def __init__(self, rate: float, size: float) -> None:
        self._rate, self._size = rate, size
        self._state = size, time.monotonic()

    def take(self) -> float:
        self._state, wait = _taken(self._state, self._rate, self._size)
        return wait


class SharedBucket:
    """One bucket of several processes, in a file: a key's rate is the same however many workers answer.

    Its lock is held for microseconds, and the kernel takes it from a process that dies.
    """

    def __init__(self, path: Path, rate: float, size: float) -> None:
        self._rate, self._size = rate, size
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> float:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            kept = os.pread(self._file, _STATE.size, 0)
            state = _STATE.unpack(kept) if len(kept) == _STATE.size else (self._size, time.monotonic())
            state, wait = _taken(state, self._rate, self._size)
            os.pwrite(self._file, _STATE.pack(*state), 0)
            return wait
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def __del__(self) -> None:
        os.close(self._file)


def _taken(state: tuple[float, float], rate: float, size: float) -> tuple[tuple[float, float], float]:
    tokens, then = state
    now = time.monotonic()
    tokens = min(size, tokens + (now - then) * rate)
    if tokens >= 1 - 1e-9:  # a caller that waited as told is not refused for a rounding error
        return (max(0.0, tokens - 1), now), 0.0
    return (tokens, now), (1 - tokens) / rate
