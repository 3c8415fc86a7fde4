"""The engines with nothing around them: threads in one process that decode a JPEG and run a model on it.

    python -m benchmarks.engines ENGINE VERSION_FOLDER PHOTO THREADS SECONDS

prints one JSON line. A process of its own each time: an engine's thread pools and memory are its alone.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measurement import Measurement

LITERT = "LiteRT"
TENSORFLOW = "TensorFlow"
_WARM_UP = 20  # requests of each thread that do not count


def measure(engine: str, version: Path, photo: Path, threads: int, seconds: float) -> Measurement:
    """Runs `threads` threads for `seconds` in a new process. Raises CalledProcessError where that fails."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.engines",
        engine,
        str(version),
        str(photo),
        str(threads),
        str(seconds),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return Measurement(**json.loads(done.stdout))


def _litert(version: Path, photo: bytes) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    from service.preprocessing.decode import decode
    from service.repository.manifest import TFLITE, Manifest

    manifest = Manifest.read(version, version.parent.name, int(version.name))
    assert manifest is not None and manifest.preprocessing is not None
    recipe = manifest.preprocessing
    runner = Interpreter(model_path=str(version / TFLITE), num_threads=1).get_signature_runner(recipe.image_signature)
    return lambda: runner(image=decode(photo, recipe.height, recipe.width)[np.newaxis])


def _tensorflow(version: Path, photo: bytes) -> Callable[[], object]:
    import tensorflow as tf

    model = tf.saved_model.load(str(version))
    run = model.signatures["serving_default"]
    run.keep_alive = model  # a signature does not hold the model it came from
    encoded = tf.constant([photo])
    return lambda: run(image_bytes=encoded)["probabilities"].numpy()


def _run(
    make: Callable[[Path, bytes], Callable[[], object]], version: Path, photo: bytes, threads: int, seconds: float
) -> Measurement:
    latencies: list[list[float]] = [[] for _ in range(threads)]
    start = threading.Barrier(threads)

    def client(kept: list[float]) -> None:
        request = make(version, photo)
        for _ in range(_WARM_UP):
            request()
        start.wait()
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            request()
            kept.append(time.perf_counter() - began)

    workers = [threading.Thread(target=client, args=(kept,)) for kept in latencies]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    every = np.concatenate([np.asarray(kept) for kept in latencies]) * 1000
    return Measurement(len(every), seconds, float(np.percentile(every, 50)), float(np.percentile(every, 99)))


if __name__ == "__main__":
    engine, version, photo, threads, seconds = sys.argv[1:]
    make = {LITERT: _litert, TENSORFLOW: _tensorflow}[engine]
    result = _run(make, Path(version), Path(photo).read_bytes(), int(threads), float(seconds))
    print(json.dumps(result.__dict__))
