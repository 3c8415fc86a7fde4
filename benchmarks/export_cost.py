"""`python -m benchmarks.export_cost FLAGS OF AN EXPORT`: seconds and peak memory of each of its stages.

Runs `python -m export` with these flags and prints one line a stage. Memory is anonymous memory of the export and all
processes that it starts, sampled: what a machine has to have, without pages of files, which the system may drop.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

from loadtest.markdown import markdown

_EVERY_SECONDS = 0.05
_BEGINS = " ..."


@dataclass(slots=True)
class Step:
    """One stage of an export: seconds on the clock, seconds of processors, and the most bytes that it was seen with.

    `largest` is the most that a single process had.
    """

    title: str
    began: float
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak: int = 0
    largest: int = 0


def measure(flags: list[str], steps: list[Step]) -> int:
    """Exports with these flags, adds its stages to `steps` in order, and returns its exit status.

    What it says goes to stderr.
    """
    command = [sys.executable, "-m", "export", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=sys.stderr)
    steps.append(Step("starting", time.monotonic()))
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(psutil.Process(process.pid), steps, ended))
    sampler.start()
    assert process.stderr is not None
    try:
        for title in _read_titles(process.stderr.fileno()):
            steps.append(Step(title, time.monotonic()))  # noqa: PERF401 - the other thread reads it meanwhile
        return process.wait()
    finally:
        process.kill()
        ended.set()
        sampler.join()
        ends = [*(step.began for step in steps[1:]), time.monotonic()]
        for step, end in zip(steps, ends, strict=True):
            step.seconds = end - step.began


def _read_titles(descriptor: int) -> Iterator[str]:
    """Titles of stages, each as soon as it is written: an export without a terminal ends them with three dots."""
    line = ""
    while data := os.read(descriptor, 65_536):
        text = data.decode("utf-8", "replace")
        sys.stderr.write(text)
        line = (line + text).rpartition("\n")[2]
        if line.endswith(_BEGINS):
            yield line.removesuffix(_BEGINS)


def _sample(root: psutil.Process, steps: list[Step], ended: threading.Event) -> None:
    spent: dict[int, float] = {}  # by process: those that ended keep what they had
    while not ended.wait(_EVERY_SECONDS):
        step, anonymous, before = steps[-1], 0, sum(spent.values())
        with suppress(psutil.NoSuchProcess):
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    memory, times = process.memory_info(), process.cpu_times()
                    anonymous += memory.rss - memory.shared
                    step.largest = max(step.largest, memory.rss - memory.shared)
                    spent[process.pid] = times.user + times.system
        step.peak = max(step.peak, anonymous)
        step.cpu_seconds += sum(spent.values()) - before


def main() -> int:
    signal.signal(signal.SIGTERM, _stop)
    steps: list[Step] = []
    try:
        return measure(sys.argv[1:], steps)
    finally:
        print(tabulate(steps))


def _stop(number: int, frame: object) -> None:
    """Ends the export, and what was measured until then is printed all the same."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def tabulate(steps: list[Step]) -> str:
    total = Step("all of it", 0.0)
    for step in steps:
        total.seconds, total.cpu_seconds = total.seconds + step.seconds, total.cpu_seconds + step.cpu_seconds
        total.peak, total.largest = max(total.peak, step.peak), max(total.largest, step.largest)
    rows = [
        (
            step.title,
            f"{step.seconds:.1f}",
            f"{step.cpu_seconds:.1f}",
            f"{step.peak / 1e6:,.0f}",
            f"{step.largest / 1e6:,.0f}",
        )
        for step in (*steps, total)
    ]
    return markdown(("stage", "s", "CPU s", "peak MB", "largest process MB"), rows)


if __name__ == "__main__":
    sys.exit(main())
