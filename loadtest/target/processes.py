"""What a server and all that it has started take of the machine."""

from collections.abc import Iterator
from contextlib import suppress

import psutil


def cpu_seconds(pid: int) -> float:
    """Of `pid` and its descendants so far."""
    seconds = 0.0
    for process in _family(pid):
        with suppress(psutil.Error):  # ended meanwhile
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


def memory_mb(pid: int) -> float:
    """Of `pid` and its descendants now, in MB; what several share is counted once (PSS)."""
    size = 0
    for process in _family(pid):
        with suppress(psutil.Error):
            size += process.memory_full_info().pss
    return size / 1e6


def find_listener(port: int) -> int | None:
    """The oldest process that listens on `port` of this machine; None where there is none that may be looked at."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(each.status == "LISTEN" and each.laddr.port == port for each in process.net_connections("tcp")):
                found.append(process)
    return min(found, key=lambda process: process.create_time()).pid if found else None


def _family(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)
