"""What processes take of the machine: memory, processor time, files."""

import ctypes
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of some processes together; `most_files` and `started` (Unix time) are one's."""

    resident_bytes: int
    cpu_seconds: float
    open_files: int
    most_files: int
    started: float


def measure(parent: int | None = None) -> Footprint:
    """Of this process, or of `parent` and its children; those that ended count for processor time.

    Raises psutil.Error where the parent is gone.
    """
    eldest = psutil.Process(parent)
    members, cpu = [eldest], _cpu_seconds(eldest)
    if parent is not None:
        # A child that ends while we count moves from its own line to its parent's: count until none did.
        before, after = -1.0, _ended_seconds(eldest)
        while before != after:
            before = after
            members = [eldest, *eldest.children()]
            cpu = before + sum(map(_cpu_seconds, members))
            after = _ended_seconds(eldest)
    resident = files = 0
    for member in members:
        with suppress(psutil.Error):  # ended meanwhile
            resident += member.memory_info().rss
            files += member.num_fds()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Footprint(resident, cpu, files, most, eldest.create_time())


def resident_mb(pid: int | None = None) -> float:
    """Memory of `pid`, or of this process, that is in RAM, in MB."""
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def release_memory() -> None:
    """Gives the system back what this process has freed, which glibc keeps for later; elsewhere it does nothing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def end_with_parent() -> None:
    """Lets Linux kill this process when the thread that started it ends; elsewhere it does nothing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def peak_mb(pid: int | None = None) -> float:
    """The most that `resident_mb` has been; zero where nobody counts it.

    Read by hand: psutil has no peak on Linux, and getrusage's survives exec, so that a small program which a large one
    starts would inherit its size.
    """
    try:
        status = Path(f"/proc/{pid or 'self'}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith("VmHWM"))


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _ended_seconds(process: psutil.Process) -> float:
    """Of the children that ended."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)
