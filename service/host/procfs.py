"""What processes take of the machine, as Linux counts it: memory, processor time, files."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of some processes together, but `started` (Unix time) and `most_files` are one's."""

    resident_bytes: int
    cpu_seconds: float
    open_files: int
    most_files: int
    started: float


def of(family: int | None = None) -> Footprint:
    """Of this process, or of the process `family` and its children; those that ended count for processor time.

    Raises OSError where there is no /proc.
    """
    eldest = os.getpid() if family is None else family
    pids, cpu = [eldest], _seconds(eldest, "utime", "stime")
    if family is not None:
        # A child that ends while we count moves from its own line to its parent's: count until none did.
        ended, counted = -1.0, _seconds(family, "cutime", "cstime")
        while ended != counted:
            ended = counted
            pids = [family, *_children(family)]
            cpu = ended + sum(_seconds(pid, "utime", "stime") for pid in pids)
            counted = _seconds(family, "cutime", "cstime")
    return Footprint(
        resident_bytes=sum(_resident(pid) for pid in pids),
        cpu_seconds=cpu,
        open_files=sum(_open_files(pid) for pid in pids),
        most_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        started=_boot() + _stat(eldest)["starttime"] / _TICKS,
    )


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


_FIELDS = {"utime": 11, "stime": 12, "cutime": 13, "cstime": 14, "starttime": 19}  # counted from after the name


def _stat(pid: int) -> dict[str, int]:
    """Empty for a process that is gone."""
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: int(numbers[place]) for name, place in _FIELDS.items()}


def _seconds(pid: int, *names: str) -> float:
    stat = _stat(pid)
    return sum(stat.get(name, 0) for name in names) / _TICKS


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _open_files(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def _boot() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
