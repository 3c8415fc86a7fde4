"""`python -m benchmarks.catalogue`: measures the networks that were not measured yet, and writes docs/zoo.md.

Each network is built untrained, exported and run in processes of their own, the cheapest first; what is found is
recorded after each, so that an interrupted run goes on where it was. Everything takes hours on two cores.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.catalogue import page, steps
from export import spec
from export.architectures import ARCHITECTURES
from export.architectures.costs import COSTS
from export.architectures.measurements import FILE, Latency, Measured, Measurements, read_measurements
from export.errors import UsageError
from service.host.cpu import machine

CACHE = Path("build/zoo")
EXPORTED, TIMED, WRITTEN = STEPS = ("export", "time", "page")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalogue", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=spec.ALL, metavar="all|NAME,...", help="which to measure (default: all)")
    parser.add_argument(
        "--steps",
        default=",".join(STEPS),
        metavar=",".join(STEPS),
        help="export them, time them (leave the machine alone meanwhile), write the page (default: all three)",
    )
    parser.add_argument("--anew", action="store_true", help="measure them even where they were measured before")
    parser.add_argument(
        "--again",
        action="store_true",
        help="time them once more, and keep the lower latencies: other work on a machine only ever slows",
    )
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help=f"where exported networks are kept (default: {CACHE})"
    )
    parser.add_argument("--results", type=Path, default=FILE, help="what is found (default: where --list reads it)")
    parser.add_argument("--output", type=Path, default=page.PAGE, help=f"the page (default: {page.PAGE})")
    args = parser.parse_args(arguments)
    wanted = args.steps.split(",")
    unknown = [step for step in wanted if step not in STEPS]
    if unknown:
        parser.error(f"Invalid --steps: expected some of {', '.join(STEPS)}, got {unknown[0]!r}")
    try:
        rows = sorted(spec.architectures(args.networks, "--networks"), key=lambda row: COSTS[row.name].macs)
    except UsageError as error:
        parser.error(str(error))
    failed = []
    for row in rows:
        try:
            _measure(row.name, wanted, args)
        except subprocess.CalledProcessError as error:
            print(f"catalogue: {row.name}: {error}", file=sys.stderr)
            failed.append(row.name)
    if WRITTEN in wanted:
        page.write(read_measurements(args.results), args.output)
        print(f"written to {args.output}")
    return bool(failed)


def _measure(name: str, wanted: Sequence[str], args: argparse.Namespace) -> None:
    """What of it is not on record, or all of it `--anew`; exported anew too where it is to be timed without its files.

    Raises CalledProcessError.
    """
    folder, results = args.cache / name, args.results
    found = None if args.anew else _read(name, results)
    time = TIMED in wanted and (args.again or found is None or found.latency is None)
    if EXPORTED in wanted and (found is None or (time and not (folder / steps.TFLITE).is_file())):
        before = None if found is None else found.latency
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{name}: exporting ...", flush=True)
        found = Measured(**steps.run_step(steps.EXPORT, name, folder), latency=before)
        _record(name, found, results)
    if time and found is not None:
        print(f"{name}: running ...", flush=True)
        latency = Latency.parse(steps.run_step(steps.TIME, name, folder))
        _record(name, replace(found, latency=latency.merge(found.latency)), results)


def _read(name: str, results: Path) -> Measured | None:
    """What this machine took."""
    found = read_measurements(results)
    return found.networks.get(name) if found.machine == machine() else None


def _record(name: str, measured: Measured, results: Path) -> None:
    """Beside the others of this machine; what another machine took goes."""
    found = read_measurements(results)
    others = found.networks if found.machine == machine() else {}
    kept = {**others, name: measured}
    Measurements(machine(), {each: kept[each] for each in ARCHITECTURES if each in kept}).write(results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
