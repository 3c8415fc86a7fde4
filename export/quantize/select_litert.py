"""The form of `model.tflite` to publish: every candidate built and measured, the fastest accurate one chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.data.dataset import Dataset, Split
from export.errors import ExportError
from export.progress import Stage
from export.quantize import evaluate as judge
from export.quantize import mixed_precision as mixed
from export.quantize.candidates import Candidate, Choice, fastest
from export.quantize.convert import Convertible
from export.quantize.evaluate import Judge
from export.quantize.schemes import FLOAT32, INT8, Scheme

CALIBRATION_IMAGES = 128

_RANKING_IMAGES = 32


def choose(
    float_model: bytes,
    architecture: Architecture,
    schemes: Sequence[Scheme],
    dataset: Dataset,
    most_drop: float,
    or_float: bool,
    stage: Stage,
) -> Choice:
    """Measures `schemes` of `float_model`, a `model.tflite` with float32 weights, and `float_model` itself.

    Where an int8 candidate is faster than whatever may be published but loses more than `most_drop` of
    accuracy, mixed forms of it are tried too. `or_float` says that float32 may be what is published.

    Raises ExportError where no candidate may.
    """
    images = _spread(dataset.train, CALIBRATION_IMAGES)
    stage.advance(0, len(schemes) + 1, f"calibrating on {len(images)} images")
    try:
        convertible = Convertible(float_model, images, architecture)
    except (ValueError, RuntimeError) as error:
        raise ExportError(
            f"refused to publish: the quantizer cannot calibrate this network ({error}); export it without --quantize"
        ) from error
    held_out = dataset.held_out.images
    wanted = judge.answers(float_model, held_out)
    judges = Judge(wanted, dataset, most_drop)
    candidates = [Candidate(FLOAT32, FLOAT32, float_model, judges.quality(wanted))]
    failed: dict[str, str] = {}

    def attempt(scheme: Scheme) -> list[Candidate]:
        stage.advance(len(candidates), len(schemes) + 1, scheme.name)
        try:
            data = convertible.under(scheme)
            return [Candidate(scheme.name, scheme.precision, data, judges.quality(judge.answers(data, held_out)))]
        except (ValueError, RuntimeError) as error:
            failed[scheme.name] = str(error).partition("\n")[0]
            return []

    for scheme in schemes:
        candidates += attempt(scheme)
    _time(candidates, images, stage)
    accepted = [each for each in candidates if not each.quality.refused and (or_float or each.precision != FLOAT32)]
    if too_lossy := _tempting(candidates, accepted):
        rejected = next(scheme for scheme in schemes if scheme.name == too_lossy.name)
        for form in mixed.forms(rejected, convertible, images[:_RANKING_IMAGES]):
            found = attempt(form)
            candidates += found
            if found and not found[0].quality.refused:
                accepted += found
                break
        _time(candidates, images, stage)
    if not accepted:
        raise ExportError(_nothing_left(candidates[1:], failed, judges.remedy))
    return Choice(fastest(accepted), tuple(candidates), failed)


def _tempting(candidates: Sequence[Candidate], accepted: Sequence[Candidate]) -> Candidate | None:
    """The fastest int8 candidate that is faster than all accepted ones, and refused."""
    limit = min((each.cost for each in accepted), default=float("inf"))
    lossy = [each for each in candidates if each.quality.refused and each.precision == INT8 and each.cost < limit]
    return min(lossy, key=lambda each: each.cost, default=None)


def _time(candidates: Sequence[Candidate], images: Any, stage: Stage) -> None:
    stage.advance(len(candidates), len(candidates) + 1, f"timing {len(candidates)} candidates in turns")
    for candidate, taken in zip(
        candidates, judge.milliseconds([each.data for each in candidates], images), strict=True
    ):
        candidate.milliseconds = taken


def _nothing_left(candidates: Sequence[Candidate], failed: Mapping[str, str], remedy: str) -> str:
    if not candidates:
        return "refused to publish: " + "; ".join(f"{name}: {why}" for name, why in failed.items())
    best = max(candidates, key=lambda each: (each.quality.accuracy or 0.0, each.quality.agreement))
    return (
        f"refused to publish: even the best candidate, {best.name}, {best.quality.refused}; {remedy}, or --quantize "
        "auto, which keeps float32 where nothing else will do"
    )


def _spread(split: Split, count: int) -> Any:
    """Up to `count` images of `split`, evenly spread over it (it lies class by class)."""
    chosen = np.linspace(0, len(split.images) - 1, min(count, len(split.images))).astype(int)
    return np.asarray(split.images[chosen])
