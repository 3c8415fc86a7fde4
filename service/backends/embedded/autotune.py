"""Chooses how this machine best runs a model file, and measures what the model then costs."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import quantiles

import numpy as np

from service.backends.embedded.litert import Lane, Layout, LiteRTRunner, ModelFile
from service.errors import ServiceError
from service.host.cpu import cores, machine
from service.host.processes import resident_mb
from service.repository.manifest import STRING, Profile, Signature
from service.types import Tensors

BUCKETS = (1, 2, 4, 8, 16, 32)

_LAYOUT_SECONDS = 0.1  # for each of two layouts, alone and back to back
_LAYOUT_TURNS = 2
_LARGE = 200 * 10**6  # bytes of a file: each interpreter has its weights once more for every signature
_PAUSE = 0.005  # seconds between lone calls: threads that have gone to sleep take their time to wake
_LEAST_CALLS = 3
_ENOUGH = 0.05  # seconds of calls that settle one bucket
_SLOW = 0.15  # seconds past which one call settles it

Call = Callable[[str, Tensors], object]


def load_tuned(path: Path, profile: Profile) -> LiteRTRunner:
    """The runner that `profile` was measured with. Raises ValueError where `path` is no TFLite model."""
    return LiteRTRunner(ModelFile.read(path), Layout(profile.lanes, profile.threads))


def tune(path: Path, seconds: float = 1.0) -> tuple[LiteRTRunner, Profile]:
    """A runner in the layout that is best on this machine, and what the model costs in it.

    One interpreter gets all cores where a lone request and one of many then cost less in the geometric mean, as with
    large models; it also holds the weights once only. Otherwise each core gets a single-threaded interpreter. Files of
    200 MB and more get one without a comparison, which would need the memory of both.

    The choice takes about half a second and the measurement `seconds`, in which large batches of large models are left
    out; a model that needs a second for one image takes some seconds.

    Raises ValueError where `path` is no TFLite model.
    """
    before = resident_mb()
    model = ModelFile.read(path)
    made: dict[int, Lane] = {}
    layout, load_seconds = _choose_layout(model, made)
    runner = LiteRTRunner(model, layout, made)
    made.clear()
    milliseconds = measure_buckets(runner.call, runner.signatures, seconds, runner.slots)
    return runner, Profile(
        machine=machine(),
        lanes=layout.lanes,
        threads=layout.threads,
        milliseconds={
            name: {rows: round(value, 4) for rows, value in by_rows.items()} for name, by_rows in milliseconds.items()
        },
        load_seconds=round(load_seconds, 4),
        peak_mb=round(resident_mb() - before, 1),
    )


def describe_profile(profile: Profile) -> str:
    """One line for a log."""
    costs = [
        f"{name} {by_rows[1]:.3g} ms alone, {by_rows[most] / most:.3g} ms an image in {most}s"
        for name, by_rows in profile.milliseconds.items()
        if (most := max(by_rows))
    ]
    return "; ".join([f"interpreters: {profile.lanes} of {profile.threads} threads", *costs])


def make_inputs(signature: Signature, rows: int) -> Tensors | None:
    """Zeros for `rows` rows; None where the signature leaves their shape open. The values do not change the cost."""
    inputs = {}
    for alias, spec in signature.inputs.items():
        if spec.dtype == STRING or not spec.batched or spec.shape is None or None in spec.shape[1:]:
            return None
        inputs[alias] = np.zeros((rows, *(size or 0 for size in spec.shape[1:])), np.dtype(spec.dtype))
    return inputs


def measure_buckets(
    call: Call, signatures: Mapping[str, Signature], seconds: float, lanes: int = 1
) -> dict[str, dict[int, float]]:
    """Signature -> rows -> milliseconds of a batch, for as many of BUCKETS as fit in about `seconds`.

    Every signature gets its first bucket, then small buckets come before large ones. A signature's buckets end at the
    first one that the model refuses. `lanes` take turns at calls.
    """
    until = time.perf_counter() + seconds
    measured: dict[str, dict[int, float]] = {name: {} for name in signatures}
    for rows in BUCKETS:
        for name, signature in signatures.items():
            inputs = make_inputs(signature, rows)
            expected = 2 * measured[name].get(rows // 2, 0.0) / 1000
            too_late = rows > 1 and (not expected or time.perf_counter() + 2 * expected > until)
            if inputs is None or too_late:
                continue
            run = partial(call, name, inputs)
            with suppress(ServiceError):
                if expected < _SLOW:
                    for _ in range(lanes):  # a new batch size makes the engine lay out its memory anew
                        run()
                measured[name][rows] = measure_milliseconds(run, _ENOUGH)
    return {name: by_rows for name, by_rows in measured.items() if by_rows}


def measure_milliseconds(call: Callable[[], object], seconds: float, pause: float = 0.0) -> float:
    """Milliseconds of one call, tried for about `seconds`, with `pause` seconds between calls."""
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not taken or (len(taken) < _LEAST_CALLS and sum(taken) < _SLOW):
        time.sleep(pause)
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    # Not the median: other work on the machine makes calls slower, and nothing makes one faster.
    return 1000 * (quantiles(taken, n=4, method="inclusive")[0] if len(taken) > 1 else taken[0])


def _choose_layout(model: ModelFile, made: dict[int, Lane]) -> tuple[Layout, float]:
    """The better layout, and the seconds from opening the file in it to the first answer."""
    narrow, wide = Layout(cores(), 1), Layout(1, cores())
    loading: dict[int, float] = {}
    calls: dict[int, Callable[[], object]] = {}
    for threads in [cores()] if len(model.content) >= _LARGE else sorted({1, cores()}):
        began = time.perf_counter()
        lane = made[threads] = Lane(model, threads)
        probe = next(_runnable_inputs(lane), None)
        if probe is None:
            return Layout(cores() // threads, threads), 0.0
        calls[threads] = partial(lane.call, *probe)
        calls[threads]()
        loading[threads] = time.perf_counter() - began
    if len(calls) == 1:
        return wide, loading[cores()]
    least = dict.fromkeys(calls, (math.inf, math.inf))
    for _ in range(_LAYOUT_TURNS):  # other work on the machine slows both down
        for threads, call in calls.items():
            alone = measure_milliseconds(call, _LAYOUT_SECONDS / _LAYOUT_TURNS, _PAUSE)
            back_to_back = measure_milliseconds(call, _LAYOUT_SECONDS / _LAYOUT_TURNS)
            least[threads] = min(least[threads][0], alone), min(least[threads][1], back_to_back)
    layout = wide if is_wide_better(least[1], least[cores()]) else narrow
    return layout, loading[layout.threads] * layout.lanes


def is_wide_better(narrow: tuple[float, float], wide: tuple[float, float]) -> bool:
    """Whether one lane on all cores costs less than a lane of one thread on each: the geometric mean of a lone image
    and of one among many, as in a race of engines. Both are (milliseconds of a lone call, milliseconds of one of many
    calls) of one lane.
    """
    return wide[0] * wide[1] < narrow[0] * narrow[1] / cores()


def _runnable_inputs(lane: Lane) -> Iterator[tuple[str, Tensors]]:
    for name, signature in lane.signatures.items():
        if (inputs := make_inputs(signature, 1)) is not None:
            with suppress(ServiceError):
                lane.call(name, inputs)
                yield name, inputs
