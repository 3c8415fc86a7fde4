"""Transfer learning, shown: a network that has seen the digits 0 to 4 learns 5 to 9 from 20 images each.

`python -m benchmarks.transfer` trains it on 0 to 4, then three ways on the others: from scratch, a new head on its
features (linear probe), and fine-tuned. Each three times, from other random weights and other images. Prints a table
for docs/transfer.md, and ends with 1 where an adapted network is not `MARGIN` better than one from scratch.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from export.architectures import ARCHITECTURES
from export.data import dataset as data
from export.data import sources
from export.data.dataset import Dataset, Split
from export.progress import Progress
from export.spec import ExportSpec
from export.training import adapt, checkpoints, train, weights
from export.training.options import FINE_TUNE, FULL, LINEAR_PROBE, TrainingOptions

MARGIN = 0.05
SEEDS = (0, 1, 2)
IMAGES = 20
"""Of a class, to learn from and to choose the best epoch by."""

_CHOOSING = 4
_SEEN, _NEW = range(5), range(5, 10)
_WAYS = {"from scratch": FULL, "linear probe": LINEAR_PROBE, "fine-tuned": FINE_TUNE}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mobilenet_v3_small", choices=sorted(ARCHITECTURES))
    parser.add_argument("--image-size", type=int, default=48)
    args = parser.parse_args(arguments)
    progress = Progress()
    with progress.stage("reading the digits") as stage:
        digits = data.load(sources.find(sources.DIGITS), args.image_size, stage)
    found: dict[str, list[float]] = {way: [] for way in _WAYS}
    for seed in SEEDS:
        progress.heading(f"{args.model}, seed {seed}")
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "seen.keras")
            spec = _ask(args.model, args.image_size, seed, Path(folder), FULL, weights.NONE)
            _learn(spec, _select(digits, _SEEN), file, progress)
            few = _draw(_select(digits, _NEW), seed)
            for way, strategy in _WAYS.items():
                given = weights.NONE if strategy == FULL else file
                spec = _ask(args.model, args.image_size, seed, Path(folder), strategy, given)
                found[way].append(_learn(spec, few, None, progress))
    print(render(args.model, args.image_size, found))
    scratch = mean(found["from scratch"])
    return 0 if all(mean(found[way]) >= scratch + MARGIN for way in list(_WAYS)[1:]) else 1


def render(model: str, size: int, found: dict[str, list[float]]) -> str:
    """The table: a row a way, the accuracy of each seed, their mean, and by how many points it beats scratch."""
    scratch = mean(found["from scratch"])
    lines = [
        f"| {model}, {size}x{size} | {' | '.join(f'seed {seed}' for seed in SEEDS)} | mean | points gained |",
        f"| :--- |{' ---: |' * (len(SEEDS) + 2)}",
    ]
    for way, accuracies in found.items():
        gained = "" if way == "from scratch" else f"{100 * (mean(accuracies) - scratch):+.1f}"
        cells = " | ".join(f"{accuracy:.3f}" for accuracy in accuracies)
        lines.append(f"| {way} | {cells} | {mean(accuracies):.3f} | {gained} |")
    return "\n".join(lines)


def _ask(model: str, size: int, seed: int, folder: Path, strategy: str, given: str) -> ExportSpec:
    row = ARCHITECTURES[model]
    return ExportSpec(
        architecture=row, name=model, data=sources.DIGITS, weights=given, image_size=size, recipe=row.recipe,
        seed=seed, repository=folder, training=TrainingOptions(strategy),
    )  # fmt: skip


def _learn(spec: ExportSpec, dataset: Dataset, file: str | None, progress: Progress) -> float:
    """Trains, writes the network to `file` where one is given, and returns its accuracy on held-out images."""
    import keras

    keras.utils.set_random_seed(spec.seed)
    start = weights.start(spec.architecture, spec.image_size, len(dataset.labels), spec.weights)
    if start.known:  # as many classes, but others: the head is new
        start = replace(start, known=start.known[:-1])
    with checkpoints.keep(spec.repository / spec.name, {}, resume=False) as kept:
        adapt.adapt(spec, start, dataset, kept, progress)
    if file is not None:
        start.model.save(file)
    with progress.stage("evaluating on held-out images") as stage:
        score = train.evaluate(start.model, spec.architecture, dataset.held_out, dataset.labels, stage)
        stage.result = f"accuracy {score.accuracy:.4f}"
    return score.accuracy


def _select(dataset: Dataset, classes: range) -> Dataset:
    def keep(split: Split) -> Split:
        rows = np.flatnonzero(np.isin(split.classes, classes))
        return Split(split.images[rows], split.classes[rows] - classes.start)

    return replace(
        dataset,
        labels=tuple(dataset.labels[each] for each in classes),
        train=keep(dataset.train),
        validation=keep(dataset.validation),
        held_out=keep(dataset.held_out),
    )


def _draw(dataset: Dataset, seed: int) -> Dataset:
    """`IMAGES` of every class: most to learn from, the others to choose by."""
    generator = np.random.default_rng(seed)
    learn: list[int] = []
    choose: list[int] = []
    for label in range(len(dataset.labels)):
        drawn = generator.permutation(np.flatnonzero(dataset.train.classes == label))[:IMAGES].tolist()
        learn += drawn[_CHOOSING:]
        choose += drawn[:_CHOOSING]
    train_split, validation = (
        Split(dataset.train.images[rows], dataset.train.classes[rows]) for rows in (sorted(learn), sorted(choose))
    )
    return replace(dataset, train=train_split, validation=validation)


if __name__ == "__main__":
    sys.exit(main())
