"""`make transfer`: few images, learned from scratch and with weights that others gave, three times each.

Each time with other random weights and other images. Writes docs/transfer.md, and ends with 1 where an adapted network
is not better by as much as the page claims.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.transfer import digits, page, photographs
from benchmarks.transfer.page import FROM_SCRATCH
from export.architectures import ARCHITECTURES
from export.data import dataset as data
from export.data import sources
from export.data.dataset import Dataset
from export.data.partition import Partition
from export.data.sources import Source
from export.progress import Progress
from export.spec import ExportSpec
from export.training import adapt, checkpoints, train, weights
from export.training.options import FINE_TUNE, FULL, LINEAR_PROBE, TrainingOptions
from loadtest.target import machine

SEEDS = (0, 1, 2)

_IMAGES, _CHOOSING = 20, 4
_PLACED = 4
_DIGITS, _PHOTOGRAPHS = "lenet5", "efficientnet_lite0"
_PHOTOGRAPH_SIZE = 128
_WAYS = {FROM_SCRATCH: FULL, page.PROBE: LINEAR_PROBE, page.FINE_TUNED: FINE_TUNE}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--tasks",
        default=",".join(page.TASKS),
        metavar="NAME,...",
        help="(default: all); none only writes the page anew",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="(default: 0 1 2)")
    parser.add_argument("--results", type=Path, default=page.RESULTS, help=f"what is found (default: {page.RESULTS})")
    parser.add_argument("--output", type=Path, default=page.PAGE, help=f"the page of it (default: {page.PAGE})")
    args = parser.parse_args(arguments)
    progress = Progress()
    measure: dict[str, Callable[[int, Progress], dict[str, float]]] = {
        page.PLAIN: partial(_measure_digits, 0),
        page.PLACED: partial(_measure_digits, _PLACED),
        page.PHOTOGRAPHS: _measure_photographs,
    }
    results = page.read(args.results)
    for task in [] if args.tasks == "none" else args.tasks.split(","):
        if task not in measure:
            parser.error(f"Invalid --tasks: expected some of {', '.join(measure)}, or none, got {task!r}")
        for seed in args.seeds:
            progress.heading(f"{page.TASKS[task]}, seed {seed}")
            results = page.keep(args.results, task, seed, measure[task](seed, progress), machine.describe())
    print(page.write(results, args.output))
    missed = page.list_missed(results)
    for each in missed:
        print(f"transfer: {each}", file=sys.stderr)
    return 1 if missed else 0


def _measure_digits(placed: int, seed: int, progress: Progress) -> dict[str, float]:
    """Learns SEEN, and NEW from scratch and from that. Way -> accuracy."""
    size = digits.CANVAS if placed else ARCHITECTURES[_DIGITS].input_size
    seen = _load(*digits.draw_seen(placed, seed), size, progress)
    new = _load(*digits.draw_new(_IMAGES, _CHOOSING, bool(placed), seed), size, progress)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "seen.keras")
        _learn(_DIGITS, seen, size, seed, FULL, weights.NONE, progress, file)
        return {
            way: _learn(_DIGITS, new, size, seed, strategy, weights.NONE if strategy == FULL else str(file), progress)
            for way, strategy in _WAYS.items()
        }


def _measure_photographs(seed: int, progress: Progress) -> dict[str, float]:
    crops = _load(*photographs.draw_crops(seed), _PHOTOGRAPH_SIZE, progress)
    given = {FROM_SCRATCH: weights.NONE, page.PROBE: weights.IMAGENET}
    return {
        way: _learn(_PHOTOGRAPHS, crops, _PHOTOGRAPH_SIZE, seed, _WAYS[way], start, progress)
        for way, start in given.items()
    }


def _load(source: Source, parts: Partition, size: int, progress: Progress) -> Dataset:
    with progress.stage(f"drawing {source.name}") as stage:
        return data.load(source, size, stage, parts=parts)


def _learn(
    name: str,
    dataset: Dataset,
    size: int,
    seed: int,
    strategy: str,
    given: str,
    progress: Progress,
    file: Path | None = None,
) -> float:
    """Trains, writes the network to `file` where one is given, and returns its accuracy on held-out images."""
    import keras

    row = ARCHITECTURES[name]
    with tempfile.TemporaryDirectory() as folder:
        spec = ExportSpec(
            architecture=row, name=name, data=sources.DIGITS, weights=given, image_size=size, recipe=row.recipe,
            seed=seed, repository=Path(folder), training=TrainingOptions(strategy),
        )  # fmt: skip
        keras.utils.set_random_seed(seed)
        start = weights.start(row, size, len(dataset.labels), given)
        layers = [layer for layer in start.model.layers if layer.weights]
        if len(start.known) == len(layers):  # as many classes, but others: the head is new
            layers[-1].set_weights(row.build(row.shape(size), len(dataset.labels)).layers[-1].get_weights())
            start = replace(start, known=start.known[:-1])
        with checkpoints.keep(spec.repository / name, {}, resume=False) as kept:
            adapt.adapt(spec, start, dataset, kept, progress)
        if file is not None:
            start.model.save(file)
        with progress.stage("evaluating on held-out images") as stage:
            score = train.evaluate(start.model, row, dataset.held_out, dataset.labels, stage)
            stage.result = f"accuracy {score.accuracy:.4f}"
    keras.backend.clear_session()
    return score.accuracy


if __name__ == "__main__":
    sys.exit(main())
