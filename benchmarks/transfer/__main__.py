"""`make transfer`: few images, learned from scratch and with weights that others gave, three times each.

Each time with other random weights and other images. Writes docs/transfer.md, and ends with 1 where an adapted network
is not better by as much as the page claims.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.transfer import digits, page, photographs
from benchmarks.transfer.page import FROM_SCRATCH
from export.architectures import ARCHITECTURES
from export.architectures.architecture import Architecture
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

_IMAGES, _CHOOSING = 30, 10
_PLACED, _PLACED_EPOCHS = 20, 12
"""How often each digit of SEEN is placed, and how often a network sees each place."""
_DIGITS, _PHOTOGRAPHS = "lenet5", "efficientnet_lite0"
_PHOTOGRAPH_SIZE = 128
_FOLDER = Path("build/transfer")
"""Where an interrupted training is, for --resume."""
_WAYS = {FROM_SCRATCH: FULL, page.PROBE: LINEAR_PROBE, page.FINE_TUNED: FINE_TUNE}


@dataclass(frozen=True, slots=True)
class Run:
    """What all measurements share: where they say how far they are, and whether interrupted trainings go on."""

    progress: Progress
    resume: bool


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--tasks",
        default=",".join(page.TASKS),
        metavar="NAME,...",
        help="(default: all); none only writes the page anew",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="(default: 0 1 2)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where an interrupted run ended: leave out what --results has, and train on after the last epoch",
    )
    parser.add_argument("--results", type=Path, default=page.RESULTS, help=f"what is found (default: {page.RESULTS})")
    parser.add_argument("--output", type=Path, default=page.PAGE, help=f"the page of it (default: {page.PAGE})")
    args = parser.parse_args(arguments)
    progress = Progress()
    measure: dict[str, Callable[[int, Sequence[str], Run], Iterator[tuple[str, float]]]] = {
        page.PLAIN: partial(_measure_digits, 0),
        page.PLACED: partial(_measure_digits, _PLACED),
        page.PHOTOGRAPHS: _measure_photographs,
    }
    results = page.read(args.results)
    for task in [] if args.tasks == "none" else args.tasks.split(","):
        if task not in measure:
            parser.error(f"Invalid --tasks: expected some of {', '.join(measure)}, or none, got {task!r}")
        for seed in args.seeds:
            found = results["tasks"].get(task, {}) if args.resume else {}
            ways = [way for way in _WAYS if way in page.WAYS[task] and str(seed) not in found.get(way, {})]
            if not ways:
                continue
            progress.heading(f"{page.TASKS[task]}, seed {seed}")
            for way, accuracy in measure[task](seed, ways, Run(progress, args.resume)):
                results = page.keep(args.results, task, seed, {way: accuracy}, machine.describe())
    print(page.write(results, args.output))
    missed = page.list_missed(results)
    for each in missed:
        print(f"transfer: {each}", file=sys.stderr)
    return 1 if missed else 0


def _measure_digits(placed: int, seed: int, ways: Sequence[str], run: Run) -> Iterator[tuple[str, float]]:
    """Learns SEEN, and NEW from scratch and from that, as `ways` say. Each way and its accuracy."""
    size = digits.CANVAS if placed else ARCHITECTURES[_DIGITS].input_size
    seen = _load(*digits.draw_seen(placed, seed), size, run.progress)
    new = _load(*digits.draw_new(_IMAGES, _CHOOSING, bool(placed), seed), size, run.progress)
    row = ARCHITECTURES[_DIGITS]
    long = replace(row, recipe=replace(row.recipe, epochs=_PLACED_EPOCHS)) if placed else row
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "seen.keras")
        _learn(long, seen, size, seed, FULL, weights.NONE, run, file)
        for way in ways:
            yield way, _learn(row, new, size, seed, _WAYS[way], weights.NONE if way == FROM_SCRATCH else str(file), run)


def _measure_photographs(seed: int, ways: Sequence[str], run: Run) -> Iterator[tuple[str, float]]:
    row, size = ARCHITECTURES[_PHOTOGRAPHS], _PHOTOGRAPH_SIZE
    crops = _load(*photographs.draw_crops(seed), size, run.progress)
    for way in ways:
        yield (
            way,
            _learn(row, crops, size, seed, _WAYS[way], weights.NONE if way == FROM_SCRATCH else weights.IMAGENET, run),
        )


def _load(source: Source, parts: Partition, size: int, progress: Progress) -> Dataset:
    with progress.stage(f"drawing {source.name}") as stage:
        return data.load(source, size, stage, parts=parts)


def _learn(
    row: Architecture,
    dataset: Dataset,
    size: int,
    seed: int,
    strategy: str,
    given: str,
    run: Run,
    file: Path | None = None,
) -> float:
    """Trains, writes the network to `file` where one is given, and returns its accuracy on held-out images."""
    import keras

    spec = ExportSpec(
        architecture=row, name=f"{row.name}-{size}-{seed}-{len(dataset.train.classes)}-{strategy}",
        data=sources.DIGITS, weights=given, image_size=size, recipe=row.recipe,
        seed=seed, repository=_FOLDER, training=TrainingOptions(strategy),
    )  # fmt: skip
    home = spec.repository / spec.name
    keras.utils.set_random_seed(seed)
    start = weights.start(row, size, len(dataset.labels), given)
    layers = [layer for layer in start.model.layers if layer.weights]
    if len(start.known) == len(layers):  # as many classes, but others: the head is new
        layers[-1].set_weights(row.build(row.shape(size), len(dataset.labels)).layers[-1].get_weights())
        start = replace(start, known=start.known[:-1])
    with checkpoints.keep(home, {}, resume=run.resume and (home / checkpoints.FOLDER).is_dir()) as kept:
        adapt.adapt(spec, start, dataset, kept, run.progress)
    if file is not None:
        start.model.save(file)
    with run.progress.stage("evaluating on held-out images") as stage:
        score = train.evaluate(start.model, row, dataset.held_out, dataset.labels, stage)
        stage.result = f"accuracy {score.accuracy:.4f}"
    keras.backend.clear_session()
    return score.accuracy


if __name__ == "__main__":
    sys.exit(main())
