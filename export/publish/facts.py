"""How a version was made and how well it does, for `Manifest.facts`: JSON for people and reports."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from export.data.dataset import Dataset
from export.data.names import escape
from export.quantize.candidates import Choice
from export.quantize.evaluate import Quality
from export.quantize.select_saved_model import XLA
from export.spec import ExportSpec
from export.training.adapt import Training
from export.training.train import Score
from export.training.weights import IMAGENET
from export.verify.parity import Parity

_TOOLS = ("tensorflow", "keras", "ai-edge-litert", "numpy")


def gather(
    spec: ExportSpec,
    dataset: Dataset,
    parameters: int,
    macs: int | None,
    score: Score | None,
    parity: Parity,
    file_sizes: Mapping[str, int],
    training: Training,
    choice: Choice | None,
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    """`training` is what was done; `file_sizes` is bytes by relative path; `choice` of precision, if any. `macs` are
    multiply-adds of one image.

    `score` is that of the precision that is published, None where nobody measured it; `warnings` are what its export
    warned of.
    """
    row = spec.architecture
    return {
        "parameters": parameters,
        "macs": macs,
        "published_parameters": {"count": row.parameters, "classes": row.classes, "source": row.source}
        if row.parameters
        else None,
        "dataset": _describe_dataset(spec, dataset),
        "augmentation": None if spec.as_is else spec.data_options.choose_augmentation(dataset.labels).settings,
        **_describe_accuracy(spec, score),
        "training": {
            "weights": escape(spec.weights),
            "epochs": sum(phase["epochs"] for phase in training.phases),
            "seed": spec.seed,
            "strategy": training.strategy,
            "why": training.why,
            "seconds": round(training.seconds, 1),
            "phases": [dict(phase) for phase in training.phases],
        },
        "warnings": list(warnings),
        "parity": asdict(parity),
        "quantization": None if choice is None else _quantization(spec, choice),
        "file_bytes": dict(file_sizes),
        "tools": {"python": platform.python_version(), **{name: version(name) for name in _TOOLS}},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _describe_dataset(spec: ExportSpec, dataset: Dataset) -> dict[str, Any]:
    counts = {
        "train": len(dataset.train.classes),
        "validation": len(dataset.validation.classes),
        "held_out": len(dataset.held_out.classes),
    }
    if spec.as_is:  # nothing learnt from these images
        counts = {"calibration": counts["train"], "checked": counts["held_out"]}
    return {"name": dataset.name, "classes": len(dataset.labels), **counts}


def _describe_accuracy(spec: ExportSpec, score: Score | None) -> dict[str, Any]:
    """Of a network that is published as it is: null, beside what is published of its weights, where that is known."""
    if score is None:
        row = spec.architecture
        published = {"top1": row.top1, "on": "ImageNet's validation images", "by": row.weights_by}
        return {
            "accuracy": None,
            "accuracy_by_class": {},
            "worst_class": None,
            "published_accuracy": published if spec.weights == IMAGENET and row.top1 else None,
        }
    return {
        "accuracy": round(score.accuracy, 6),
        "accuracy_by_class": {label: round(value, 6) for label, value in score.by_class.items()},
        "worst_class": {"label": score.worst, "accuracy": round(score.by_class[score.worst], 6)},
    }


def _quantization(spec: ExportSpec, choice: Choice) -> dict[str, Any]:
    return {
        "asked": spec.quantize,
        "target": spec.target,
        "max_accuracy_drop": spec.max_accuracy_drop if spec.labelled else None,
        "min_agreement": spec.as_is.min_agreement if spec.as_is and not spec.labelled else None,
        "xla": choice.chosen.name.endswith(XLA),
        "candidates": [
            {
                "name": each.name,
                "precision": each.precision,
                "bytes": each.size,
                "milliseconds_an_image_by_batch": {size: round(value, 4) for size, value in each.milliseconds.items()},
                **_describe_quality(each.quality),
                "verdict": choice.verdict(each),
            }
            for each in choice.rows
        ],
        "failed": dict(choice.failed),
    }


def _describe_quality(found: Quality | None) -> dict[str, Any]:
    """Of a candidate that nobody examined: nulls."""
    if found is None:
        return {"images": 0, "accuracy": None, "agreement_with_float32": None, "worst_class": None}
    worst = {"label": found.worst, "accuracy": round(found.by_class[found.worst], 6)} if found.by_class else None
    return {
        "images": found.images,
        "accuracy": None if found.accuracy is None else round(found.accuracy, 6),
        "agreement_with_float32": round(found.agreement, 6),
        "worst_class": worst,
    }


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below `folder`, by relative path, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
