"""Reports of exports that never were: a network's answers drawn at random, every section of the page filled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.__main__ import parse
from export.report import calibration, classification, features, report
from export.report.measurements import Map, Measurements, find_mistakes
from export.report.options import PAGE
from export.verify.answers import MOST_FEATURES
from service.repository.calibration import scale
from service.repository.manifest import Manifest, Profile, Signature, TensorSpec

CREATED = "2026-01-01T00:00:00+00:00"


def write_report(folder: Path, labels: tuple[str, ...], *, sure: float = 1.5, **facts: Any) -> Path:
    """The page of a report below `folder`, about 20 images of each of `labels`; `facts` are added to the manifest's."""
    specs = parse(["--model", "lenet5", "--repository", str(folder / "repository")])
    assert specs is not None
    measured = measure(labels, sure)
    report.write(specs[0], folder, replace(describe(labels, facts), temperature=measured.temperature.value), measured)
    return folder / PAGE


def measure(labels: tuple[str, ...], sure: float) -> Measurements:
    generator = np.random.default_rng(0)
    classes = np.tile(np.arange(len(labels)), 20)
    logits = generator.normal(size=(len(classes), len(labels)))
    logits[np.arange(len(classes)), classes] += sure
    probabilities = scale(np.exp(logits - logits.max(-1, keepdims=True)), 0.5)
    temperature = calibration.fit_temperature(probabilities, classes)
    scaled = None
    if temperature.value is not None:
        scaled = calibration.measure(scale(probabilities, temperature.value), classes)
    images = generator.integers(0, 256, (len(classes), 24, 24, 3), np.uint8)
    mapped = classes[:MOST_FEATURES]
    places = {adapted: generator.random((len(mapped), 2)) for adapted in (False, True)}
    methods = (features.PCA, features.TSNE, features.UMAP)
    return Measurements(
        classification=classification.measure(probabilities, classes, labels),
        temperature=temperature,
        answered=calibration.measure(probabilities, classes),
        scaled=scaled,
        mistakes=find_mistakes(probabilities, images, classes, labels),
        maps=tuple(Map(method, adapted, places[adapted]) for adapted in (False, True) for method in methods),
        mapped=mapped,
        unmapped="",
        seconds=1.0,
    )


def describe(labels: tuple[str, ...], facts: dict[str, Any]) -> Manifest:
    phases = [
        {
            "title": title, "epochs": epochs, "best_epoch": epochs - 1, "learning_rate": rate,
            "trainable_parameters": 1_234_567, "frozen_layers": 40, "seconds": 12.5, "accuracy": 0.9,
            "history": {
                "loss": [2.0 / (epoch + 1) for epoch in range(epochs)],
                "val_loss": [2.2 / (epoch + 1) for epoch in range(epochs)],
                "accuracy": [1 - 0.7 / (epoch + 1) for epoch in range(epochs)],
                "val_accuracy": [1 - 0.8 / (epoch + 1) for epoch in range(epochs)],
            },
        }
        for title, epochs, rate in (("the head", 6, 1e-3), ("the last 3 blocks", 14, 1e-5))
    ]  # fmt: skip
    outputs = {"probabilities": TensorSpec("float32", (None, len(labels)))}
    return Manifest(
        name="flowers",
        version=0,
        signatures={"image": Signature({"image": TensorSpec("uint8", (None, 24, 24, 3))}, outputs)},
        labels=labels,
        architecture="lenet5",
        precision="int8",
        profile=Profile("a machine", 1, 2, {"image": {1: 1.5}}, 0.1, 20.0),
        facts={
            "parameters": 61_706,
            "dataset": {"name": "flowers", "classes": len(labels), "train": 100, "held_out": 20 * len(labels)},
            "training": {
                "weights": "imagenet", "strategy": "fine_tune", "why": "20 images a class", "seconds": 25.0,
                "batch_size": 32, "seed": 0, "phases": phases,
            },
            "warnings": [],
            "quantization": None,
            "file_bytes": {"model.tflite": 250_000},
            "tools": {"python": "3"},
            "created": CREATED,
            **facts,
        },
    )  # fmt: skip
