"""How a model file is best run on this machine: measured once, then known from its profile."""

import time
from functools import partial
from pathlib import Path

from service.backends.embedded import measuring
from service.backends.embedded.litert import Lane, Layout, LiteRTRunner, ModelFile
from service.errors import ServiceError
from service.host.cpu import cores, machine
from service.host.processes import resident_mb
from service.repository.manifest import Profile
from service.types import Tensors

_SURVEY_SECONDS = 0.1  # for each of two arrangements, alone and back to back

_MUCH_SOONER = 0.75
_AS_MUCH = 1.3


def known(path: Path, profile: Profile) -> LiteRTRunner:
    """The runner that `profile` was measured with. Raises ValueError where `path` is no TFLite model."""
    return LiteRTRunner(ModelFile.read(path), Layout(profile.lanes, profile.threads))


def measured(path: Path, seconds: float = 1.0) -> tuple[LiteRTRunner, Profile]:
    """A runner as this machine runs the model best, and what it costs.

    Takes about half a second and then `seconds`, in which large batches of large models are left out; a model that
    needs a second for one image takes some seconds.

    One interpreter gets all cores where that answers a lone request much sooner and loses little throughput,
    as with large models; it also holds the weights once only. Else one single-threaded interpreter a core.

    Raises ValueError where `path` is no TFLite model.
    """
    before = resident_mb()
    model = ModelFile.read(path)
    made = {1: Lane(model, 1)}
    layout, load_seconds = _survey(model, made)
    runner = LiteRTRunner(model, layout, made)
    made.clear()
    milliseconds = measuring.buckets(runner.call, runner.signatures, seconds)
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


def told(profile: Profile) -> str:
    """One line for a log."""
    costs = [
        f"{name} {by_rows[1]:.3g} ms alone, {by_rows[most] / most:.3g} ms an image in {most}s"
        for name, by_rows in profile.milliseconds.items()
        if (most := max(by_rows))
    ]
    return "; ".join([f"interpreters: {profile.lanes} of {profile.threads} threads", *costs])


def _survey(model: ModelFile, made: dict[int, Lane]) -> tuple[Layout, float]:
    """The better layout, and the seconds from opening the file so to the first answer."""
    narrow, wide = Layout(cores(), 1), Layout(1, cores())
    calls = {
        name: inputs
        for name, signature in made[1].signatures.items()
        if (inputs := measuring.inputs_of(signature, 1)) is not None and _runs(made[1], name, inputs)
    }
    if not calls:
        return narrow, 0.0
    name, inputs = next(iter(calls.items()))
    loading, alone, back_to_back = {}, {}, {}
    for threads in sorted({1, cores()}):
        began = time.perf_counter()
        lane = made.get(threads) or made.setdefault(threads, Lane(model, threads))
        call = partial(lane.call, name, inputs)
        call()
        loading[threads] = time.perf_counter() - began
        alone[threads] = measuring.lone(call, _SURVEY_SECONDS)
        back_to_back[threads] = measuring.busy(call, _SURVEY_SECONDS)
    sooner = alone[cores()] < _MUCH_SOONER * alone[1]
    as_much = back_to_back[cores()] * cores() < _AS_MUCH * back_to_back[1]
    layout = wide if sooner and as_much else narrow
    return layout, loading[layout.threads] * layout.lanes


def _runs(lane: Lane, name: str, inputs: Tensors) -> bool:
    try:
        lane.call(name, inputs)
    except ServiceError:
        return False
    return True
