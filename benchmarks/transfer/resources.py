"""What adapting a network takes: seconds and memory of an export, on folders of few and of many photographs.

`python -m benchmarks.transfer.resources` writes what it finds into docs/transfer.md, and ends with 1 where the page
claims more than it found.
"""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.transfer import page, photographs
from loadtest.target import machine

_SAMPLE_SECONDS = 0.2
_LEAST_SIDE = 150
"""Of a crop, in pixels: its file is then a small photograph."""

_PROBE = ("--strategy", "linear_probe", "--image-size", "224")
_FINE_TUNE = ("--strategy", "fine_tune", "--unfreeze", "0.4", "--epochs", "1", "--image-size", "64")
RUNS = {
    page.PROBE_COST: (page.FEW, _PROBE),
    page.TUNE_FEW: (page.FEW, _FINE_TUNE),
    page.TUNE_MANY: (page.MANY, _FINE_TUNE),
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of a process and its children. `anonymous` cannot be given back; `file_backed` is a cache of files.
    `alone` is what the process without its children has resident.
    """

    alone: float = 0.0
    resident: float = 0.0
    anonymous: float = 0.0
    file_backed: float = 0.0

    def grow(self, other: "Memory") -> "Memory":
        """The larger of both, each by itself."""
        return Memory(*(max(pair) for pair in zip(asdict(self).values(), asdict(other).values(), strict=True)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer.resources", description=__doc__)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="(default: all)")
    parser.add_argument("--note", metavar="TEXT", help="what else the machine was doing, for the page")
    parser.add_argument("--results", type=Path, default=page.RESULTS, help=f"what is found (default: {page.RESULTS})")
    parser.add_argument("--output", type=Path, default=page.PAGE, help=f"the page of it (default: {page.PAGE})")
    args = parser.parse_args(arguments)
    stop_on_sigterm()
    for run in args.runs:
        images, flags = RUNS[run]
        with tempfile.TemporaryDirectory() as folder:
            write_crops(Path(folder, "photos"), images)
            cost = measure(Path(folder), flags) | ({"note": args.note} if args.note else {})
        print(run, json.dumps(cost), flush=True)
        results = page.keep_cost(args.results, run, cost, machine.describe())
    page.write(results, args.output)
    missed = page.list_missed(results)
    for each in missed:
        print(f"transfer: {each}", file=sys.stderr)
    return 1 if missed else 0


def write_crops(root: Path, count: int) -> None:
    """JPEG files of so many different crops of photographs, a folder each photograph."""
    from PIL import Image

    draws = np.random.default_rng(0).random((count, 3))
    for index, draw in enumerate(draws):
        package, name = photographs.FILES[index % len(photographs.FILES)]
        pixels = photographs.open_gray(package, name)
        height, width = pixels.shape
        side = round(_LEAST_SIDE + (min(height, width) - _LEAST_SIDE) * draw[0])
        top, left = round((height - side) * draw[1]), round((width - side) * draw[2])
        file = io.BytesIO()
        Image.fromarray(pixels[top : top + side, left : left + side]).save(file, "JPEG", quality=90)
        path = root / Path(name).stem / f"{index:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())


def measure(folder: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Exports efficientnet_lite0 with ImageNet's weights from `folder`/photos: seconds, of its training too, and peaks
    of memory in megabytes.
    """
    name = "efficientnet_lite0"
    command = [sys.executable, "-m", "export", "--model", name, "--weights", "imagenet", "--data", folder / "photos"]
    command += ["--repository", folder / "models", "--force", *flags]
    before, started = os.times(), time.monotonic()
    most = watch(list(map(str, command)))
    seconds, after = time.monotonic() - started, os.times()
    (file,) = (folder / "models" / name).glob("*/assets.extra/manifest.json")
    training = json.loads(file.read_bytes())["facts"]["training"]
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"training": training["seconds"], "seconds": round(seconds, 1), "cpu": round(cpu, 1), **asdict(most)}


def watch(command: Sequence[str]) -> Memory:
    """Runs `command` to its end, and returns the most memory that it was seen with. Where this process is stopped
    meanwhile, everything that the command started ends too.
    """
    most = Memory()
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            while process.poll() is None:
                most = most.grow(read_memory(process.pid))
                time.sleep(_SAMPLE_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise SystemExit(f"the command ended with {process.returncode}")
    return most


def stop_on_sigterm() -> None:
    """Has SIGTERM unwind this process, as Ctrl-C does, instead of ending it where it stands."""

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def read_memory(pid: int) -> Memory:
    """Of a process and what it started, now; a page that several of them map counts for each."""
    found = [_read_rollup(each) for each in _list_family(pid)]
    anonymous, resident = sum(each[0] for each in found), sum(each[1] for each in found)
    sizes = (found[0][1], resident, anonymous, resident - anonymous)
    return Memory(*(round(kibibytes / 1024, 1) for kibibytes in sizes))


def _read_rollup(pid: int) -> tuple[int, int]:
    """Anonymous and all resident memory in KiB; nothing of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0, 0
    sizes = {key: int(kibibytes) for key, kibibytes in (line.split()[:2] for line in lines)}
    return sizes.get("Anonymous:", 0), sizes.get("Rss:", 0)


def _list_family(pid: int) -> Iterator[int]:
    yield pid
    try:
        yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    sys.exit(main())
