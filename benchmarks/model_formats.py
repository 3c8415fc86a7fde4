"""One network in every form it can be served in, called with one image at a time, in turns, in one process.

    python -m benchmarks.model_formats NAME STOCK_FOLDER FLOAT32_TFLITE VERSION_FOLDER SECONDS ROUNDS

prints milliseconds by form as one JSON line.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.target.ceiling import time_call

STOCK = "stock SavedModel"
FROZEN = "our SavedModel"
FLOAT32 = "LiteRT float32"
PUBLISHED = "--quantize"


def measure(name: str, stock: Path, float32: Path, version: Path, seconds: float, rounds: int) -> dict[str, float]:
    """Form -> milliseconds of one image (median of the rounds' medians). Raises CalledProcessError."""
    arguments = [name, str(stock), str(float32), str(version), str(seconds), str(rounds)]
    command = [sys.executable, "-m", "benchmarks.model_formats", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _forms(name: str, stock: Path, float32: Path, version: Path) -> dict[str, Callable[[], object]]:
    from export.architectures import ARCHITECTURES

    row = ARCHITECTURES[name]
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (1, row.input_size, row.input_size, 3), np.uint8)
    tensor = generator.random((1, *row.shape(row.input_size)), np.float32)
    # LiteRT first: it measures how it runs best, which TensorFlow's threads would disturb.
    lite = {FLOAT32: _litert(float32, image), PUBLISHED: _litert(version / "model.tflite", image)}
    return {
        STOCK: _saved_model(stock, "serving_default", tensor),
        FROZEN: _saved_model(version, "image", image),
        **lite,
    }


def _saved_model(folder: Path, signature: str, rows: Any) -> Callable[[], object]:
    import tensorflow as tf

    model = tf.saved_model.load(str(folder))
    run = model.signatures[signature]
    run.keep_alive = model  # a signature does not hold the model it came from
    (alias,) = run.structured_input_signature[1]
    value = tf.constant(rows)
    return lambda: next(iter(run(**{alias: value}).values())).numpy()


def _litert(path: Path, rows: Any) -> Callable[[], object]:
    """As the service runs it on this machine."""
    from service.backends.embedded import autotune

    runner, _ = autotune.tune(path)
    return lambda: runner.call("image", {"image": rows})


def main() -> None:
    name, stock, float32, version, seconds, rounds = sys.argv[1:]
    forms = _forms(name, Path(stock), Path(float32), Path(version))
    taken: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(int(rounds)):
        for form, call in forms.items():
            taken[form].append(1000 * time_call(call, float(seconds)))
    print(json.dumps({form: statistics.median(values) for form, values in taken.items()}))


if __name__ == "__main__":
    main()
