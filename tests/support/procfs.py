"""What the kernel says of a process, for tests that look for what is kept. Zero where the process is gone."""

from contextlib import suppress
from pathlib import Path

import psutil

from service.host import processes


def resident_mb(pid: int) -> float:
    with suppress(psutil.Error):
        return processes.resident_mb(pid)
    return 0.0


def restart_peak(pid: int) -> None:
    """`processes.peak_mb` counts from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).num_fds())
    return 0


def threads(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).num_threads())
    return 0


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def list_mapped(pid: int) -> str:
    """Paths of the files in its memory, one a line."""
    return "\n".join(each.path for each in psutil.Process(pid).memory_maps())


def children(pid: int) -> list[int]:
    """Oldest first."""
    with suppress(psutil.Error):
        return [child.pid for child in sorted(psutil.Process(pid).children(), key=lambda child: child.create_time())]
    return []


def is_alive(pid: int) -> bool:
    with suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False
