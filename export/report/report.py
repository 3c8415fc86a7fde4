"""The steps of an export that make its report: look before training, measure what is staged, write the page."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from export.data.dataset import Dataset
from export.progress import Progress
from export.report import features, measurements, page
from export.report.measurements import Measurements
from export.report.options import FULL, NUMBERS, OFF, PAGE
from export.spec import CPU, ExportSpec
from export.training.options import NONE
from export.verify.answers import Answers, open_file
from service.repository.manifest import Manifest

_DIGITS = 4


def look(spec: ExportSpec, model: Any, dataset: Dataset, progress: Progress) -> Any | None:
    """What the network makes of held-out images ahead of training, for `measure`; None without a report or training."""
    if spec.report.kind == OFF or spec.training.strategy == NONE:
        return None
    with progress.stage("measuring features before training"):
        return features.extract(model, spec.architecture, dataset.held_out)


def measure(
    spec: ExportSpec,
    folder: Path,
    model: Any,
    dataset: Dataset,
    before: Any | None,
    reference: Answers | None,
    published: Answers | None,
    progress: Progress,
) -> Measurements | None:
    """Of the version staged in `folder`; None without a report, and without labelled images.

    `reference` is what float32 answers to the held-out images, and `published` what the form does that is published;
    `model` is the trained Keras network, None where there is none.
    """
    if spec.report.kind == OFF or reference is None or published is None:  # images without labels
        return None
    methods = (
        (features.PCA, features.TSNE, features.UMAP) if spec.report.kind == FULL else (features.PCA, features.TSNE)
    )
    with progress.stage("measuring what the report says") as stage:
        after = reference.features
        if after is None and model is not None:
            after = features.extract(model, spec.architecture, dataset.held_out)
        run = open_file(folder, from_lite=spec.target == CPU)
        return measurements.measure(published, run, dataset, before, after, methods, stage)


def write(spec: ExportSpec, folder: Path, manifest: Manifest, measured: Measurements | None) -> None:
    """Writes PAGE and NUMBERS below the staged version in `folder`, where there is a report."""
    if measured is None:
        return
    without = () if spec.report.kind == FULL else ("--report full adds a map by UMAP.",)
    (folder / PAGE).parent.mkdir(parents=True)
    (folder / PAGE).write_text(page.render(manifest, measured, without), encoding="utf-8")
    numbers = json.dumps(_describe(manifest, measured), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / NUMBERS).write_text(numbers + "\n", encoding="utf-8")


def _describe(manifest: Manifest, measured: Measurements) -> dict[str, Any]:
    """As JSON; of the confusion only what is not 0."""
    found, labels = measured.classification, manifest.labels
    return {
        "model": manifest.name,
        "architecture": manifest.architecture,
        "precision": manifest.precision,
        "images": found.images,
        "accuracy": found.accuracy,
        "accuracy_interval": found.interval,
        "top_5": found.top_5,
        "classes": [asdict(each) for each in found.classes],
        "confusion": [
            {"label": labels[row], "answer": labels[column], "images": int(found.confusion[row, column])}
            for row, column in np.argwhere(found.confusion).tolist()
        ],
        "calibration": {
            "temperature": measured.temperature.value,
            "reason": measured.temperature.reason,
            "as_answered": asdict(measured.answered),
            "with_temperature": None if measured.scaled is None else asdict(measured.scaled),
        },
        "mistakes": [
            {key: getattr(each, key) for key in ("image", "label", "answer", "probability")}
            for each in measured.mistakes
        ],
        "features": {
            "labels": [labels[each] for each in measured.mapped.tolist()],
            "maps": [
                {"method": each.method, "trained": each.adapted, "places": np.round(each.places, _DIGITS).tolist()}
                for each in measured.maps
            ],
        },
        "training": _leave_out_infinity(manifest.facts["training"]),
        "quantization": manifest.facts.get("quantization"),
        "warnings": manifest.facts.get("warnings", []),
        "seconds_of_measuring": round(measured.seconds, 1),
    }


def _leave_out_infinity(value: Any) -> Any:
    """`value` with None for numbers that JSON has none for: a loss that diverged for an epoch."""
    if isinstance(value, dict):
        return {key: _leave_out_infinity(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_leave_out_infinity(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
