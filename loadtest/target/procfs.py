"""What processes take: a server's and all that it has started."""

import os
import re
from contextlib import suppress
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Of `pid` and its descendants so far."""
    ticks = 0
    for each in _family(pid):
        with suppress(OSError):  # gone in between
            fields = Path(f"/proc/{each}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Of `pid` and its descendants now, in MB; what several share is counted once (PSS)."""
    return sum(map(_proportional_mb, _family(pid)))


def listening(port: int) -> int | None:
    """The oldest process that listens on `port` of this machine; None where there is none that may be looked at."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(each.status == "LISTEN" and each.laddr.port == port for each in process.net_connections("tcp")):
                found.append(process)
    return min(found, key=lambda process: process.create_time()).pid if found else None


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(int(child)))]


def _proportional_mb(pid: int) -> float:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[0]) * 1024 / 1e6
