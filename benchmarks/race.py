"""Whether the race of engines chooses well, and what it costs a start.

    python -m benchmarks.race choice --repository model_repository --model NAME
    python -m benchmarks.race choice --repository build/bench/NAME/repository --record
    python -m benchmarks.race starts --repository model_repository

`choice` measures every engine in every precision and arrangement of threads, in turns: a lone image, and the images
a second of all lanes at once in batches of 8. The cost of a choice is the geometric mean of the milliseconds of both.
Then it lets engines race, each time without a memory of the race before, and compares what is chosen with the cheapest.
`--record` keeps it in docs/reports/race.json, of which docs/benchmarks.md is made.
`starts` times the service from its start until it is ready, and until engines are decided: its first start, and the
next one. The memory is that after a decision.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.choices import RESULTS, Choice, Cost, Raced, Races
from loadtest.target import machine
from loadtest.target.process import ServerProcess
from service.backends.embedded import autotune, engines, race
from service.backends.embedded.litert import Layout, LiteRTRunner, ModelFile
from service.backends.embedded.openvino import OpenVINORunner
from service.backends.embedded.profile_store import ProfileStore
from service.backends.embedded.version_race import Racer
from service.host.cpu import cores
from service.repository.manifest import TFLITE, Manifest, Profile
from service.repository.repository import Repository
from service.types import Tensors

ALLOWED_SECONDS = 3.0
"""A model's first start may be this much later with the race than without."""

_IMAGE = "image"
_SLICE = 0.25  # seconds of one choice in one turn, alone and in batches

_LOOK = 0.05  # seconds between two looks

Start = tuple[float, float, float]
"""Seconds until it is ready and until no engines race any more, and MB then."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("choice", "starts"))
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), metavar="DIR")
    parser.add_argument("--model", metavar="NAME", help="one network (default: all of the repository)")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="of every choice (default: 5)")
    parser.add_argument("--races", type=int, default=1, metavar="N", help="how often engines race (default: 1)")
    parser.add_argument("--precision", choices=("exported", "exact", "fast"), default="exported")
    parser.add_argument("--record", action="store_true", help=f"keep the choices in {RESULTS}")
    given = parser.parse_args()
    repository = Repository(given.repository)
    found = {name: max(versions) for name, versions in repository.scan().items() if given.model in (None, name)}
    if not found:
        print(f"benchmarks.race: {given.repository} has no model {given.model or ''}", file=sys.stderr)
        return 1
    if given.what == "starts":
        print_starts(given.repository, given.turns)
        return 0
    raced = {
        name: measure_choice(repository.folder(name, version), name, version, given.precision, given.turns, given.races)
        for name, version in found.items()
    }
    if given.record:
        kept = Races.read(RESULTS).networks if RESULTS.is_file() else {}
        Races({**kept, **raced}).write(RESULTS)
    return 0 if all(each.is_good(each.worst) for each in raced.values()) else 1


def measure_choice(folder: Path, name: str, version: int, precision: str, turns: int, races: int) -> Raced:
    """Prints what it finds."""
    manifest = Manifest.read(folder, name, version)
    if manifest is None:
        raise SystemExit(f"benchmarks.race: {folder} has no manifest")
    runners = _open_all(folder, manifest, precision)
    costs = _measure_all(runners, manifest, turns)
    runners.clear()
    chosen = []
    for _ in range(races):
        with tempfile.TemporaryDirectory() as cache:
            choice, litert = _race(folder, manifest, precision, ProfileStore(Path(cache)))
        chosen.append(choice)
    raced = Raced(machine.describe(), costs, litert, chosen)
    print(f"{name}: engine, precision, lanes x threads: ms of a lone image, ms an image in batches, times the cheapest")
    for choice, (alone, many) in sorted(costs.items(), key=lambda each: each[1].mean):
        print(f"  {choice!s:34} {alone:8.3g} {many:8.3g} {raced.compare(choice, raced.cheapest):6.2f}")
    print(f"  LiteRT alone is given {litert}")
    for choice in chosen:
        ratio, good = raced.compare(choice, raced.cheapest), raced.is_good(choice)
        print(f"  the race chose {choice}: {ratio:.2f} times the cheapest{'' if good else ', not met'}", flush=True)
    return raced


def print_starts(repository: Path, turns: int) -> None:
    models = tuple(Repository(repository).scan())
    starts: dict[tuple[str, str], list[Start]] = {}
    for _ in range(turns):
        for engine in ("litert", "auto"):
            with tempfile.TemporaryDirectory() as cache:
                for which in ("first", "next"):
                    start = _start(repository, models, ("--engine", engine, "--cache-dir", cache))
                    starts.setdefault((engine, which), []).append(start)
    for (engine, which), taken in starts.items():
        ready, decided, memory = (median(each) for each in zip(*taken, strict=True))
        print(f"--engine {engine}, {which} start: ready after {ready:.2f} s, decided after {decided:.2f} s, ", end="")
        print(f"{memory:.0f} MB")
    later = _find_ready(starts["auto", "first"]) - _find_ready(starts["litert", "first"])
    print(f"a first start is later by {later / len(models):.2f} s a model (at most {ALLOWED_SECONDS:g})")
    print(f"a next start by {_find_ready(starts['auto', 'next']) - _find_ready(starts['litert', 'next']):.2f} s")


def _find_ready(taken: list[Start]) -> float:
    return median(ready for ready, _, _ in taken)


def _start(repository: Path, models: tuple[str, ...], flags: tuple[str, ...]) -> Start:
    began = time.monotonic()
    with ServerProcess.service(repository, models[0], *flags) as server:
        while any(_is_racing(f"{server.base}/models/{model}") for model in models):
            time.sleep(_LOOK)
        decided = time.monotonic() - began
        server.settle()
        return server.ready_seconds, decided, server.memory_mb()


def _is_racing(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return bool(json.load(reply)["manifest"]["profile"]["racing"])


def _open_all(folder: Path, manifest: Manifest, precision: str) -> dict[Choice, Racer]:
    layouts = [Layout(1, cores())] + ([Layout(cores(), 1)] if cores() > 1 else [])
    model, networks = (
        ModelFile.read(folder / TFLITE),
        engines.Engines(precision=precision).find_networks(folder, manifest),
    )
    opened: dict[Choice, Racer] = {}
    for layout in layouts:
        opened[Choice(race.LITERT, manifest.precision, layout.lanes, layout.threads)] = LiteRTRunner(model, layout)
        for each, network in networks.items():
            runner = OpenVINORunner(network, manifest.signatures, each, layout)
            opened[Choice(race.OPENVINO, each, layout.lanes, layout.threads)] = runner
    return opened


def _measure_all(runners: dict[Choice, Racer], manifest: Manifest, turns: int) -> dict[Choice, Cost]:
    signature = manifest.signatures[_IMAGE]
    one, many = (autotune.make_inputs(signature, rows) or {} for rows in (1, race.MANY))
    alone: dict[Choice, float] = dict.fromkeys(runners, float("inf"))
    shared: dict[Choice, float] = dict.fromkeys(runners, float("inf"))
    for _ in range(turns):
        for choice, runner in runners.items():
            call = partial(runner.call, _IMAGE, one)
            call()
            alone[choice] = min(alone[choice], autotune.measure_milliseconds(call, _SLICE))
            shared[choice] = min(shared[choice], _measure_lanes(partial(runner.call, _IMAGE, many), runner.slots))
    return {each: Cost(alone[each], shared[each]) for each in runners}


def _measure_lanes(call: Callable[[], Tensors], lanes: int) -> float:
    """Milliseconds an image, with a thread for each of `lanes`."""
    counts, start = [0] * lanes, threading.Barrier(lanes + 1)

    def work(lane: int) -> None:
        call()
        start.wait()
        until = time.perf_counter() + _SLICE
        while time.perf_counter() < until or not counts[lane]:
            call()
            counts[lane] += 1

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(lanes)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return 1000 * (time.perf_counter() - began) / (sum(counts) * race.MANY)


def _race(folder: Path, manifest: Manifest, precision: str, profiles: ProfileStore) -> tuple[Choice, Choice]:
    """What the race chose, and what LiteRT alone is given."""
    tuned: list[Profile] = []

    def load_litert() -> tuple[LiteRTRunner, Profile]:
        runner, profile = autotune.tune(folder / TFLITE)
        tuned.append(profile)
        return runner, profile

    chosen = engines.Engines("auto", precision, patience=60.0).load(folder, manifest, None, profiles, load_litert)
    made, alone = chosen.profile, tuned[0]
    litert = Choice(race.LITERT, manifest.precision, alone.lanes, alone.threads)
    return Choice(made.engine, made.precision, made.lanes, made.threads), litert


if __name__ == "__main__":
    sys.exit(main())
