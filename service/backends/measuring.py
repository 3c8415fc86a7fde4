"""How long a model takes on this machine, found out in a bounded time while nobody waits for it."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np

from service.manifest import STRING, Signature
from service.messages import Tensors

BUCKETS = (1, 2, 4, 8, 16, 32)

_PAUSE = 0.005  # seconds between lone calls: threads that have gone to sleep take their time to wake
_LEAST_CALLS = 3
_ENOUGH = 0.05  # seconds of calls that settle one bucket

Call = Callable[[str, Tensors], object]


def inputs_of(signature: Signature, rows: int) -> Tensors | None:
    """Zeros for `rows` rows; None where the signature leaves their shape open. What is in them costs the same."""
    found = {}
    for alias, spec in signature.inputs.items():
        if spec.dtype == STRING or not spec.batched or spec.shape is None or None in spec.shape[1:]:
            return None
        found[alias] = np.zeros((rows, *(size or 0 for size in spec.shape[1:])), np.dtype(spec.dtype))
    return found


def lone(call: Callable[[], object], until: float) -> float:
    """Milliseconds of a call that comes when nothing has run for a moment, until `time.perf_counter()` is `until`."""
    call()
    return _milliseconds(call, until, _PAUSE)


def busy(call: Callable[[], object], until: float) -> float:
    """Milliseconds of a call that comes right after the last."""
    call()
    return _milliseconds(call, until, 0.0)


def buckets(call: Call, signatures: Mapping[str, Signature], seconds: float) -> dict[str, dict[int, float]]:
    """Signature -> rows -> milliseconds of a batch, for as many of BUCKETS as fit in about `seconds`.

    Every signature gets its first bucket, then small ones come before large ones.
    """
    until = time.perf_counter() + seconds
    found: dict[str, dict[int, float]] = {name: {} for name in signatures}
    for rows in BUCKETS:
        for name, signature in signatures.items():
            inputs = inputs_of(signature, rows)
            known = found[name].get(rows // 2, 0.0)
            if inputs is None or (known and time.perf_counter() + 2 * known / 1000 * (_LEAST_CALLS + 1) > until):
                continue

            def run(name: str = name, inputs: Tensors = inputs) -> object:
                return call(name, inputs)

            if rows == 1 or known:
                found[name][rows] = busy(run, time.perf_counter() + _ENOUGH)
    return {name: values for name, values in found.items() if values}


def _milliseconds(call: Callable[[], object], until: float, pause: float) -> float:
    taken: list[float] = []
    while len(taken) < _LEAST_CALLS or time.perf_counter() < until:
        time.sleep(pause)
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return median(taken) * 1000
