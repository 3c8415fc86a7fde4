"""`python -m export.quantize.timing FOLDER`: a SavedModel's `image` signature by batch size, as one JSON line."""

import json
import statistics
import sys
import time
from typing import Any

BATCHES = (1, 8, 32)

_WARM_UP = 5  # the first calls choose kernels, and compile where XLA is on
_SECONDS = 1.0


def main() -> None:
    import numpy as np
    import tensorflow as tf

    model = tf.saved_model.load(sys.argv[1])
    run = model.signatures["image"]
    shape = run.structured_input_signature[1]["image"].shape[1:]
    print(
        json.dumps(
            {size: _milliseconds(run, tf.constant(np.zeros((size, *shape), np.uint8))) / size for size in BATCHES}
        )
    )


def _milliseconds(run: Any, images: Any) -> float:
    taken: list[float] = []
    for number in range(10_000):
        began = time.perf_counter()
        run(image=images)["probabilities"].numpy()
        if number >= _WARM_UP:
            taken.append(time.perf_counter() - began)
        if sum(taken) > _SECONDS:
            break
    return statistics.median(taken) * 1000


if __name__ == "__main__":
    main()
