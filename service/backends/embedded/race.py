"""Which engine runs a version here: each is measured, and the fastest that answers as at export does.

No engine is the fastest for every network and processor, so nothing is assumed. LiteRT is there for every exported
version and needs the least memory; another engine has to be faster by `_MUCH` to take its place.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.backends.base import Golden
from service.backends.embedded import autotune, openvino
from service.backends.embedded.litert import Layout
from service.backends.embedded.openvino import OpenVINORunner
from service.host.cpu import cores, machine
from service.host.processes import resident_mb
from service.repository.manifest import OPENVINO, TFLITE, Manifest, Profile

_MUCH = 1.1
_SECONDS = 0.6  # of measuring one form in one layout
_MOST_SECONDS = 3.0  # of one version's race; a form that would begin later does not run
_TOLERANCE = 0.1  # of a probability, in bfloat16; float32 has the golden check's own
_FLOAT32_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Racer:
    """A form of a version that may run it: `name` is for people."""

    precision: str
    layout: Layout

    @property
    def name(self) -> str:
        return f"openvino {self.precision}, {self.layout.lanes} of {self.layout.threads} threads"


def find_network(folder: Path, manifest: Manifest) -> Path | None:
    """The file of a version that OpenVINO can read; None where it has none."""
    if (own := folder / OPENVINO).is_file():
        return own
    return folder / TFLITE if manifest.precision in ("", "float32") and (folder / TFLITE).is_file() else None


def run_race(
    network: Path, manifest: Manifest, litert: Profile, golden: Golden | None, *, fast: bool, forced: bool = False
) -> tuple[OpenVINORunner | None, Profile]:
    """The fastest runner and its profile; None and `litert`, with what the others cost, where LiteRT stays.

    `fast` lets in bfloat16. `forced` leaves LiteRT out. Raises ValueError where OpenVINO cannot run `network`.
    """
    began, rivals = time.monotonic(), dict[str, str]()
    best: tuple[float, OpenVINORunner, Profile] | None = None
    for racer in _list_racers(fast):
        if best is not None and time.monotonic() - began > _MOST_SECONDS:
            break
        runner, profile = _measure(network, manifest, racer)
        difference = _find_difference(runner, golden)
        allowed = _TOLERANCE if racer.precision == openvino.BFLOAT16 else _FLOAT32_TOLERANCE
        if not difference <= allowed:
            rivals[racer.name] = f"differs by {difference:.3g} from the export's answers"
            continue
        cost = find_cost(profile, profile.lanes)
        rivals[racer.name] = describe_costs(profile)
        if best is None or cost < best[0]:
            best = cost, runner, profile
    if best is None or (not forced and best[0] * _MUCH > find_cost(litert, litert.lanes)):
        return None, replace(litert, rivals=rivals)
    _, runner, profile = best
    others = {name: told for name, told in rivals.items() if name != _name(profile)}
    shared = {name: litert.milliseconds[name] for name in litert.milliseconds if name not in profile.milliseconds}
    return runner, replace(
        profile,
        milliseconds={**shared, **profile.milliseconds},
        rivals={"litert": describe_costs(litert), **others},
    )


def load(network: Path, manifest: Manifest, profile: Profile) -> OpenVINORunner:
    """The runner that `profile` was measured with. Raises ValueError where OpenVINO cannot run `network`."""
    return OpenVINORunner(network, manifest.signatures, profile.precision, Layout(profile.lanes, profile.threads))


def find_cost(profile: Profile, lanes: int) -> float:
    """What the race is about: the geometric mean of the milliseconds of a lone image and of one among many."""
    by_rows = next(iter(profile.milliseconds.values()), {})
    if not by_rows:
        return math.inf
    most = max(rows for rows in by_rows if rows <= 8)
    return math.sqrt(by_rows[min(by_rows)] * by_rows[most] / most / lanes)


def describe_costs(profile: Profile) -> str:
    by_rows = next(iter(profile.milliseconds.values()), {})
    if not by_rows:
        return "not measured"
    most = max(rows for rows in by_rows if rows <= 8)
    return f"{by_rows[min(by_rows)]:.3g} ms alone, {by_rows[most] / most:.3g} ms an image in {most}s"


def _list_racers(fast: bool) -> Iterator[Racer]:
    """The most promising ones first: the time may not be enough for all."""
    layouts = [Layout(cores(), 1), Layout(1, cores())] if cores() > 1 else [Layout(1, 1)]
    precisions = [each for each in openvino.find_precisions() if fast or each == openvino.FLOAT32]
    for precision in reversed(precisions):
        for layout in layouts:
            yield Racer(precision, layout)


def _measure(network: Path, manifest: Manifest, racer: Racer) -> tuple[OpenVINORunner, Profile]:
    before, began = resident_mb(), time.perf_counter()
    runner = OpenVINORunner(network, manifest.signatures, racer.precision, racer.layout)
    load_seconds = time.perf_counter() - began
    found = autotune.measure_buckets(runner.call, runner.signatures, _SECONDS, runner.slots)
    return runner, Profile(
        machine=machine(),
        lanes=racer.layout.lanes,
        threads=racer.layout.threads,
        milliseconds={name: {rows: round(ms, 4) for rows, ms in by_rows.items()} for name, by_rows in found.items()},
        load_seconds=round(load_seconds, 4),
        peak_mb=round(resident_mb() - before, 1),
        engine="openvino",
        precision=racer.precision,
    )


def _find_difference(runner: OpenVINORunner, golden: Golden | None) -> float:
    """The largest one of any golden answer; 0 where there is none to compare with."""
    if golden is None or golden.signature not in runner.signatures:
        return 0.0
    answers = runner.call(golden.signature, golden.inputs)
    return max(float(np.abs(answers[alias] - expected).max()) for alias, expected in golden.outputs.items())


def _name(profile: Profile) -> str:
    return Racer(profile.precision, Layout(profile.lanes, profile.threads)).name
