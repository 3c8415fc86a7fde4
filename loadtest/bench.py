"""`make bench`: what the engines can do inside a process, and what is left of it behind HTTP.

Everything runs in one sitting, in rounds that take turns, so that a machine whose speed drifts treats
all alike: trust the ratios more than the numbers. Latencies at concurrency N come from N clients that
each send their next request when the last was answered (closed loop).
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadtest import decoding, engines, machine, wrk
from loadtest.measurement import Measurement
from loadtest.service_process import ServiceProcess
from service.profiles import cores

MODEL = "mobilenet_v3_small"
REPORT = Path("docs/benchmarks.md")
CACHE = Path("build/bench")
CONCURRENCIES = (1, 8, 32)


@dataclass(frozen=True)
class Row:
    """One line of the table: medians over the rounds."""

    name: str
    concurrency: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="turns each measurement takes (default: 3)")
    parser.add_argument("--output", type=Path, default=REPORT, help=f"the report (default: {REPORT})")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("bench: the load generator wrk is missing; apt-get install wrk", file=sys.stderr)
        return 1
    repository = _exported()
    with tempfile.TemporaryDirectory() as folder, ServiceProcess(repository) as service:
        photo = machine.write_photo(Path(folder, "photo.jpg"))
        rows = _measure(repository, photo, service, arguments.seconds, arguments.rounds)
        report = _report(rows, service, arguments.seconds, arguments.rounds)
        print("decoding ...", flush=True)
        report += _decoding_report(decoding.measure(photo.read_bytes()))
    print("\n" + report)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(report, encoding="utf-8")
    print(f"written to {arguments.output}")
    return 0


def _exported() -> Path:
    """The network at its published size. Untrained: how fast it is does not depend on what it learnt."""
    if not (CACHE / MODEL).is_dir():
        command = [sys.executable, "-m", "export", "--model", MODEL, "--epochs", "0", "--repository", str(CACHE)]
        subprocess.run(command, check=True)
    return CACHE


def _measure(repository: Path, photo: Path, service: ServiceProcess, seconds: float, rounds: int) -> list[Row]:
    version = max((path for path in (repository / MODEL).iterdir() if path.name.isdigit()), key=lambda p: int(p.name))
    tasks: dict[tuple[str, int], Callable[[], Measurement]] = {}
    for engine in (engines.LITERT, engines.TENSORFLOW):
        for threads in (1, cores()):
            name = f"{engine} in process, decode + model"
            tasks[name, threads] = partial(engines.measure, engine, version, photo, threads, seconds)
    url = f"{service.url}/predict/{MODEL}"
    for concurrency in CONCURRENCIES:
        tasks["this service, HTTP", concurrency] = partial(wrk.measure, url, photo, concurrency, seconds)
    results: dict[tuple[str, int], list[Measurement]] = {key: [] for key in tasks}
    for turn in range(rounds):
        for (name, concurrency), task in tasks.items():
            print(f"round {turn + 1}/{rounds}: {name}, concurrency {concurrency} ...", flush=True)
            results[name, concurrency].append(task())
    return [_row(name, concurrency, measured) for (name, concurrency), measured in results.items()]


def _row(name: str, concurrency: int, measured: list[Measurement]) -> Row:
    def median(values: list[float]) -> float:
        return statistics.median(values)

    return Row(
        name,
        concurrency,
        median([one.requests / one.seconds for one in measured]),
        median([one.p50_ms for one in measured]),
        median([one.p99_ms for one in measured]),
    )


def _report(rows: list[Row], service: ServiceProcess, seconds: float, rounds: int) -> str:
    limit = max(row.requests_per_second for row in rows if row.name.startswith(engines.LITERT))
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit.",
        "",
        f"- {machine.describe()}",
        f"- {MODEL} at 224x224, float32; a 640x427 JPEG of {machine.photo_bytes():,} bytes a request",
        f"- medians of {rounds} rounds of {seconds:g} s each, all in one run",
        "- load by wrk, closed loop, from the same machine",
        f"- the service: ready {service.ready_seconds:.2f} s after its start, {service.rss_mb():.0f} MB after the load",
        "",
        "| what | concurrency | requests/s | p50 ms | p99 ms | of LiteRT's best |",
        "| :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.name} | {row.concurrency} | {row.requests_per_second:.0f} | {row.p50_ms:.2f} | {row.p99_ms:.2f} "
        f"| {row.requests_per_second / limit:.0%} |"
        for row in rows
    ]
    lines += [
        "",
        "In process, concurrency is threads; each decodes and resizes the JPEG and runs the model at batch 1:",
        "LiteRT the way the service does it, TensorFlow by the SavedModel's own `serving_default` signature,",
        "decoding inside the graph.",
        "",
    ]
    return "\n".join(lines)


def _decoding_report(measured: list[decoding.Decoding]) -> str:
    lines = [
        "",
        f"Decoding a JPEG to {decoding.TARGET}x{decoding.TARGET}, one thread, the two ways in turns:",
        "",
        "| size | whole, then resized, ms | the service, ms | ratio |",
        "| :--- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.width}x{one.height} | {one.whole_ms:.2f} | {one.service_ms:.2f} | {one.ratio:.1f} |"
        for one in measured
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
