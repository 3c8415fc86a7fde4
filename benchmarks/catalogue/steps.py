"""One step of measuring one network, in a process of its own, which gives all memory back.

    python -m benchmarks.catalogue.steps export|time NAME FOLDER

prints what it found as one JSON line. `export` writes a SavedModel and `model.tflite` below FOLDER, `time` runs them.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from service.host.cpu import cores

EXPORT, TIME = "export", "time"
BATCHES = (1, 8)

TFLITE = "model.tflite"
_ENOUGH = 0.6  # seconds of calls that settle one batch size


def run_step(step: str, name: str, folder: Path) -> dict[str, Any]:
    """Raises CalledProcessError where it ends badly."""
    command = [sys.executable, "-m", "benchmarks.catalogue.steps", step, name, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _export(name: str, folder: Path) -> dict[str, Any]:
    """Builds it without training, freezes and converts it: fields of `Measured`."""
    from export.architectures import ARCHITECTURES
    from export.convert import freeze, litert
    from export.quiet import import_tensorflow

    import_tensorflow()
    row = ARCHITECTURES[name]
    began = time.perf_counter()
    model = row.build(row.shape(row.input_size), row.classes)
    built = time.perf_counter()
    folder.mkdir(parents=True)
    freeze.write_saved_model(folder, model, row, row.input_size, tuple(map(str, range(row.classes))))
    litert.convert(folder, folder / TFLITE)
    return {
        "build_seconds": round(built - began, 2),
        "export_seconds": round(time.perf_counter() - built, 2),
        "saved_model_bytes": (folder / "saved_model.pb").stat().st_size,
        "litert_bytes": (folder / TFLITE).stat().st_size,
    }


def _time(name: str, folder: Path) -> dict[str, Any]:
    """Fields of `Latency`."""
    from export.architectures import ARCHITECTURES

    size = ARCHITECTURES[name].input_size
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), size, size, 3), np.uint8)
    # LiteRT first: TensorFlow's threads would disturb it.
    return {
        "litert_ms": _measure(_open_litert(folder / TFLITE), images),
        "tensorflow_ms": _measure(_open_tensorflow(folder), images),
    }


def _open_litert(path: Path) -> Callable[[Any], object]:
    """On all cores, as TensorFlow runs; the service chooses between that and a core for each request."""
    from service.backends.embedded.litert import Layout, LiteRTRunner, ModelFile

    runner = LiteRTRunner(ModelFile.read(path), Layout(lanes=1, threads=cores()))
    return lambda rows: runner.call("image", {"image": rows})


def _open_tensorflow(folder: Path) -> Callable[[Any], object]:
    from export.quiet import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    model = tf.saved_model.load(str(folder))
    run = model.signatures["image"]
    run.keep_alive = model  # a signature does not hold the model it came from
    return lambda rows: run(image=tf.constant(rows))["probabilities"].numpy()


def _measure(call: Callable[[Any], object], images: Any) -> dict[int, float]:
    from service.backends.embedded.autotune import measure_milliseconds

    found = {}
    for rows in BATCHES:
        call(images[:rows])  # the first of a size lays out memory
        found[rows] = round(measure_milliseconds(partial(call, images[:rows]), _ENOUGH), 3)
    return found


def main() -> int:
    step, name, folder = sys.argv[1:]
    found = {EXPORT: _export, TIME: _time}[step](name, Path(folder))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
