"""What this process, or a family of them, takes of the machine, held against real processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from loadtest.target import processes as load_test
from service.host import processes
from tests.support import procfs

ROOT = Path(__file__).parents[4]
_PARENT = """
import subprocess, sys
busy = "import time; end = time.process_time() + 0.3\\nwhile time.process_time() < end: pass"
subprocess.run([sys.executable, "-c", busy])                 # a child that ended
child = subprocess.Popen([sys.executable, "-c", "held = b'x' * 60_000_000; print(1, flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
input()
"""


@contextmanager
def family() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
            yield parent.pid
        finally:
            for child in psutil.Process(parent.pid).children():
                child.kill()
            parent.kill()


def test_this_process_alone() -> None:
    before = processes.measure()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    with Path(os.devnull).open():
        after = processes.measure()
    assert after.cpu_seconds - before.cpu_seconds >= 0.04 and after.open_files == before.open_files + 1
    assert abs(after.resident_bytes / 1e6 - processes.resident_mb()) < 20
    assert 0 < time.time() - after.started < 86400 and after.most_files > after.open_files


def test_a_family_counts_its_living_children_and_the_time_of_the_dead() -> None:
    with family() as pid:
        footprint = processes.measure(pid)
        assert footprint.resident_bytes > 50e6 > psutil.Process(pid).memory_info().rss
        assert footprint.cpu_seconds > 0.3 and footprint.open_files >= 8
        assert load_test.memory_mb(pid) > 50 and load_test.cpu_seconds(pid) > 0
        assert len(procfs.children(pid)) == 1
    with pytest.raises(psutil.Error):
        processes.measure(pid)
    assert load_test.memory_mb(pid) == load_test.cpu_seconds(pid) == procfs.resident_mb(pid) == 0


def test_the_peak_stays_and_can_be_started_again() -> None:
    """In a process of its own: what else a test's process holds comes and goes."""
    code = """
import os
from service.host.processes import peak_mb
from tests.support.procfs import restart_peak
restart_peak(os.getpid())
print(peak_mb())
ballast = bytearray(b"x") * 100_000_000
del ballast
print(peak_mb())
restart_peak(os.getpid())
print(peak_mb())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    before, after, again = map(float, told.split())
    assert after - before > 90 and again - before < 50


def test_a_program_does_not_inherit_the_peak_of_who_starts_it() -> None:
    """getrusage's would be the parent's."""
    ballast = np.ones(300_000_000, np.uint8)
    code = "from service.host.processes import peak_mb; print(peak_mb())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 5 < float(told) < 200 < ballast.nbytes / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process that its parent has ended")
def test_a_process_may_end_with_its_parent() -> None:
    child = "from service.host.processes import end_with_parent; end_with_parent(); print(1, flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as started:
        assert started.stdout is not None and started.stdout.readline() == b"1\n"
        started.kill()
        assert started.stdout.read() == b""  # the child has it open as long as it lives
