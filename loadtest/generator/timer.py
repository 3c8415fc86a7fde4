"""Waking at a time: gevent's timers, like libev's below them, are late by up to a millisecond; the kernel's are not."""

import ctypes
import os
import sys
import time

import gevent

_READ, _MONOTONIC, _ABSOLUTE = 1, 1, 1


class _Timespec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class Alarm:
    """A Linux timerfd, which gevent waits for like for a socket; elsewhere gevent's own timers."""

    def __init__(self) -> None:
        self._file = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._file = self._libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
            self._watcher = gevent.get_hub().loop.io(self._file, _READ)

    def wait_until(self, moment: float) -> None:
        """Returns at `moment`, a `time.monotonic()`. Others run in between even where it has passed."""
        if self._file < 0 or moment <= time.monotonic():
            gevent.sleep(max(0.0, moment - time.monotonic()))
            return
        seconds, nanoseconds = divmod(int(moment * 1e9), 10**9)
        setting = _Timespec(0, 0, seconds, nanoseconds)
        if self._libc.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(setting), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        gevent.get_hub().wait(self._watcher)
        os.read(self._file, 8)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
