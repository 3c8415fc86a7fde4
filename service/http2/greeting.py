"""The first words on a connection: a client's preface and our settings, and who says something else."""

import re

from service.http2 import frames
from service.http2.frames import Setting
from service.http2.patience import Limits

_HTTP1 = re.compile(rb"(?!PRI )[A-Z]{3,10} ")


class StrangerError(Exception):
    """Speaks no HTTP/2."""

    def __init__(self, data: bytes) -> None:
        super().__init__("this is no HTTP/2")
        self.http1 = _HTTP1.match(data) is not None


class Preface:
    """Of one client, which may come in pieces."""

    def __init__(self) -> None:
        self._missing = frames.PREFACE

    def __bool__(self) -> bool:
        """Whether it is there."""
        return not self._missing

    def without(self, data: bytes) -> bytes:
        """What follows it. Raises StrangerError."""
        size = min(len(data), len(self._missing))
        if data[:size] != self._missing[:size]:
            raise StrangerError(data)
        self._missing = self._missing[size:]
        return data[size:]


def settings(limits: Limits) -> bytes:
    """Ours: no table of headers, and a connection without a bound, for its streams have theirs."""
    ours = {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.MAX_CONCURRENT_STREAMS: limits.streams,
        Setting.INITIAL_WINDOW_SIZE: limits.window,
        Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
    }
    return frames.settings(ours) + frames.window_update(0, frames.LARGEST_WINDOW - frames.DEFAULT_WINDOW)
