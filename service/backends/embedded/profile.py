"""`python -m service profile MODEL.tflite`: what a model file costs on this machine, as JSON. The exporter runs it.

Another process tunes the model. This one then loads it as a server would, so that seconds and memory are those of
serving.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from service.repository.manifest import Profile

_SECONDS = 10.0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m service profile", description="What a model file costs here, as JSON.")
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    given = parser.parse_args(arguments)
    try:
        profile = measure_profile(given.model)
    except ValueError as error:
        print(f"python -m service profile: {error}", file=sys.stderr)
        return 1
    print(json.dumps(profile.document()))
    return 0


def measure_profile(path: Path) -> Profile:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        profile = other.submit(_tune, path).result()
    from service.backends.embedded import autotune
    from service.backends.embedded.litert import LARGEST_RUN
    from service.host.processes import peak_mb, resident_mb

    before, began = resident_mb(), time.perf_counter()
    runner = autotune.load_tuned(path, profile)

    def run_all_lanes(rows: int) -> None:
        for name, signature in runner.signatures.items():
            if (inputs := autotune.make_inputs(signature, rows)) is not None:
                for _ in range(runner.slots):  # lanes take turns
                    runner.call(name, inputs)

    run_all_lanes(1)
    load_seconds = time.perf_counter() - began
    run_all_lanes(LARGEST_RUN)
    return replace(profile, load_seconds=round(load_seconds, 4), peak_mb=round(peak_mb() - before, 1))


def _tune(path: Path) -> Profile:
    from service.backends.embedded import autotune

    return autotune.tune(path, _SECONDS)[1]
