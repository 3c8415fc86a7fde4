"""What is simulated: latency profiles measured on this project's machines, and two that look like a GPU's.

`loadtest/profiles/*.json` hold measured ones, {"method", "profiles": {name: {"slots", "milliseconds": {rows: ms}}}}.
`python -m benchmarks.batching.machines VERSION_FOLDER ...` writes cpu.json from the manifests of exported versions.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batching.servers import Machine
from service.repository.manifest import Manifest

PROFILES = Path(__file__).parents[2] / "loadtest" / "profiles"


@dataclass(frozen=True, slots=True)
class Case:
    """A machine and the seconds within which an answer is worth something."""

    machine: Machine
    slo: float


def cases() -> list[Case]:
    """Measured ones with an SLO of four times what their best batch takes; GPUs with a comfortable and a tight one."""
    found = [Case(machine, _round(4 * machine.seconds()[machine.enough])) for machine in _measured()]
    for fixed, a_row, most in ((5.0, 0.2, 64), (2.0, 0.5, 32)):
        gpu = _like_a_gpu(fixed, a_row, most)
        found += [Case(gpu, _round(times * gpu.seconds()[most])) for times in (2.8, 1.7)]
    return found


def _measured() -> list[Machine]:
    machines = []
    for path in sorted(PROFILES.glob("*.json")):
        for name, profile in json.loads(path.read_text(encoding="utf-8"))["profiles"].items():
            milliseconds = {int(rows): value for rows, value in profile["milliseconds"].items()}
            machines.append(Machine(f"{name} on {path.stem}", milliseconds, profile["slots"]))
    return machines


def _like_a_gpu(fixed: float, a_row: float, most: int) -> Machine:
    sizes = (rows for rows in (1, 2, 4, 8, 16, 32, 64) if rows <= most)
    return Machine(f"GPU-like, {fixed:g} + {a_row:g} n ms", {rows: fixed + a_row * rows for rows in sizes})


def _round(seconds: float) -> float:
    """To whole milliseconds, as people set an SLO."""
    return max(0.001, round(seconds, 3))


def _record(folders: list[str]) -> None:
    profiles, machine = {}, ""
    for folder in map(Path, folders):
        manifest = Manifest.read(folder, folder.parent.name, int(folder.name))
        if manifest is None or manifest.profile is None or manifest.preprocessing is None:
            raise SystemExit(f"{folder} has no manifest with a measured profile; export it again")
        milliseconds = manifest.profile.milliseconds[manifest.preprocessing.image_signature]
        profiles[f"{manifest.name} {manifest.precision}"] = {
            "slots": manifest.profile.lanes,
            "milliseconds": milliseconds,
        }
        machine = manifest.profile.machine
    method = f"python -m service profile on {machine}: the service's own profile of each version"
    text = json.dumps({"method": method, "profiles": profiles}, indent=1)
    (PROFILES / "cpu.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    _record(sys.argv[1:])
