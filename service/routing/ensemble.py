"""Answers of several classifiers to one request: compared or averaged, label by label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import BackendFailed, InvalidInput
from service.repository.manifest import CLASSES, PROBABILITIES
from service.types import Array, PredictResult, Timings


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers compared: of `rows` rows, `agree` have the same most probable label. Probabilities differ by `most`
    at most, and by `average` on average.
    """

    rows: int
    agree: int
    most: float
    average: float


def average(results: Sequence[PredictResult], weights: Sequence[float]) -> PredictResult:
    """The weighted mean of the `probabilities`, in the first result's order of labels, with the longest timings.

    Raises InvalidInput where the client did not ask for probabilities, BackendFailed where the members' labels differ.
    """
    first = results[0]
    if any(PROBABILITIES not in result.outputs for result in results):
        raise InvalidInput(
            f"an ensemble averages {PROBABILITIES!r}: request that output, through a signature that has it"
        )
    aligned = [_aligned(first, result) for result in results]
    if missing := next((other for other, array in zip(results, aligned, strict=True) if array is None), None):
        raise BackendFailed(f"{first.ref} and {missing.ref} have different labels, so their answers cannot be averaged")
    stacked = np.stack([array for array in aligned if array is not None])
    mean = np.average(stacked, axis=0, weights=weights).astype(first.outputs[PROBABILITIES].dtype)
    outputs = {PROBABILITIES: mean} | {alias: first.outputs[alias] for alias in (CLASSES,) if alias in first.outputs}
    served_by = tuple(ref for result in results for ref in result.served_by)
    timings = Timings(
        decode=max(result.timings.decode for result in results),
        queue=max(result.timings.queue for result in results),
        batch=max(result.timings.batch for result in results),
        compute=max(result.timings.compute for result in results),
    )
    return PredictResult(first.ref, first.signature, outputs, first.labels, timings, served_by)


def compare(answer: PredictResult, other: PredictResult) -> Comparison | None:
    """None where there is nothing to compare: no probabilities, or other labels."""
    if PROBABILITIES not in answer.outputs or PROBABILITIES not in other.outputs:
        return None
    ours, theirs = answer.outputs[PROBABILITIES], _aligned(answer, other)
    if theirs is None or ours.ndim != 2 or not ours.size:
        return None
    difference = np.abs(ours.astype(np.float64) - theirs)
    agree = int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    return Comparison(len(ours), agree, float(difference.max()), float(difference.mean()))


def _aligned(first: PredictResult, other: PredictResult) -> Array | None:
    """`other`'s probabilities in `first`'s order of labels; None where they do not have the same labels."""
    array = other.outputs[PROBABILITIES]
    if array.shape != first.outputs[PROBABILITIES].shape:
        return None
    ours, theirs = _labels(first), _labels(other)
    if ours == theirs:
        return array
    places = {label: place for place, label in enumerate(theirs)}
    if len(places) < len(theirs) or set(ours) != set(theirs):
        return None
    return array[..., [places[label] for label in ours]]


def _labels(result: PredictResult) -> tuple[str, ...]:
    """The manifest's labels, else those in an upstream's `classes`; empty without either."""
    if result.labels:
        return result.labels
    classes = result.outputs.get(CLASSES)
    if classes is None or classes.ndim != 2 or not len(classes):
        return ()
    return tuple(value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in classes[0])
