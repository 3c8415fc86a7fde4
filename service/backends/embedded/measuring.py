"""How long a model takes on this machine, found out in a bounded time while nobody waits for it."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from statistics import quantiles

import numpy as np

from service.errors import ServiceError
from service.repository.manifest import STRING, Signature
from service.types import Tensors

BUCKETS = (1, 2, 4, 8, 16, 32)

_PAUSE = 0.005  # seconds between lone calls: threads that have gone to sleep take their time to wake
_LEAST_CALLS = 3
_ENOUGH = 0.05  # seconds of calls that settle one bucket
_SLOW = 0.15  # seconds past which one call settles it

Call = Callable[[str, Tensors], object]


def inputs_of(signature: Signature, rows: int) -> Tensors | None:
    """Zeros for `rows` rows; None where the signature leaves their shape open. What is in them costs the same."""
    found = {}
    for alias, spec in signature.inputs.items():
        if spec.dtype == STRING or not spec.batched or spec.shape is None or None in spec.shape[1:]:
            return None
        found[alias] = np.zeros((rows, *(size or 0 for size in spec.shape[1:])), np.dtype(spec.dtype))
    return found


def lone(call: Callable[[], object], seconds: float) -> float:
    """Milliseconds of a call that comes when nothing has run for a moment; tried for about `seconds`."""
    return _milliseconds(call, seconds, _PAUSE)


def busy(call: Callable[[], object], seconds: float) -> float:
    """Milliseconds of a call that comes right after the last."""
    return _milliseconds(call, seconds, 0.0)


def buckets(call: Call, signatures: Mapping[str, Signature], seconds: float) -> dict[str, dict[int, float]]:
    """Signature -> rows -> milliseconds of a batch, for as many of BUCKETS as fit in about `seconds`.

    Every signature gets its first bucket, then small ones come before large ones. None past one that the model refuses.
    """
    until = time.perf_counter() + seconds
    found: dict[str, dict[int, float]] = {name: {} for name in signatures}
    for rows in BUCKETS:
        for name, signature in signatures.items():
            inputs = inputs_of(signature, rows)
            expected = 2 * found[name].get(rows // 2, 0.0) / 1000
            too_late = rows > 1 and (not expected or time.perf_counter() + 2 * expected > until)
            if inputs is None or too_late:
                continue

            def run(name: str = name, inputs: Tensors = inputs) -> object:
                return call(name, inputs)

            with suppress(ServiceError):
                if expected < _SLOW:
                    run()  # a new batch size makes the engine arrange its memory anew
                found[name][rows] = busy(run, _ENOUGH)
    return {name: values for name, values in found.items() if values}


def _milliseconds(call: Callable[[], object], seconds: float, pause: float) -> float:
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not taken or (len(taken) < _LEAST_CALLS and sum(taken) < _SLOW):
        time.sleep(pause)
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    # Not the median: what else runs here for a moment makes calls slower, and nothing makes one faster.
    return 1000 * (quantiles(taken, n=4, method="inclusive")[0] if len(taken) > 1 else taken[0])
