"""Trains every network that is built here on handwritten digits, at the smallest size it can be built for.

It shows that a network learns from random weights with its row's recipe, which a count of parameters does not: each has
to name at least nine of ten held-out digits. Hours on two cores for all of them; what is recorded with enough is not
trained again, so that it may be done in parts.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from export.architectures import ARCHITECTURES
from export.data import sources
from export.data.dataset import Split
from export.quiet import import_tensorflow
from export.training.options import FLOAT32

LEAST_ACCURACY = 0.9
BUILT_HERE = tuple(row.name for row in ARCHITECTURES.values() if row.weights_by != "Keras" and row.name != "lenet5")
RECORD = Path(__file__).with_name("zoo_training.json")


@dataclass(frozen=True, slots=True)
class Trained:
    """One network from random weights on digits of `size` pixels a side, after `seconds` of wall-clock time."""

    size: int
    parameters: int
    accuracy: float
    images: int
    epochs: int
    batch_size: int
    learning_rate: float
    seconds: float
    precision: str = FLOAT32


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--networks", default=",".join(BUILT_HERE), metavar="NAME,...", help="which to train (default: all built here)")
    add("--epochs", type=int, metavar="N", help="most passes over the images (default: each row's own)")
    add("--learning-rate", type=float, metavar="X", help="(default: each row's own)")
    add("--train-precision", default=FLOAT32, metavar="NAME", help="(default: %(default)s)")
    add("--images", type=int, metavar="N", help="how many digits to learn from (default: all 1,294)")
    add("--record", type=Path, default=RECORD, metavar="FILE", help="what was seen so far (default: %(default)s)")
    add("--again", action="store_true", help="train those too that are recorded with enough")
    add("--minutes", type=float, default=float("inf"), metavar="X", help="begin no network after so long")
    arguments = parser.parse_args()
    import_tensorflow()
    given = {"--epochs": arguments.epochs, "--learning-rate": arguments.learning_rate}
    flags = ["--train-precision", arguments.train_precision]
    flags += [text for flag, value in given.items() if value is not None for text in (flag, str(value))]
    recorded, began, failed = read_record(arguments.record), time.monotonic(), []
    print("| network | size | parameters | accuracy | images | epochs | seconds |\n|---|---:|---:|---:|---:|---:|---:|")
    for name in arguments.networks.split(","):
        if name in recorded and recorded[name].accuracy >= LEAST_ACCURACY and not arguments.again:
            continue
        if time.monotonic() - began > 60 * arguments.minutes:
            break
        trained = train_network(name, flags, arguments.images)
        print(
            f"| {name} | {trained.size} | {trained.parameters:,} | {trained.accuracy:.4f} | {trained.images:,} | "
            f"{trained.epochs} | {trained.seconds:.0f} |",
            flush=True,
        )
        write_record(arguments.record, read_record(arguments.record) | {name: trained})
        if trained.accuracy < LEAST_ACCURACY:
            failed.append(name)
    if failed:
        print(f"below {LEAST_ACCURACY}: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def read_record(path: Path) -> dict[str, Trained]:
    """The records by network name. There are none where the file is missing."""
    if not path.exists():
        return {}
    return {name: Trained(**each) for name, each in json.loads(path.read_bytes()).items()}


def write_record(path: Path, trained: Mapping[str, Trained]) -> None:
    """In the registry's order."""
    ordered = {name: asdict(trained[name]) for name in BUILT_HERE if name in trained}
    path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def train_network(name: str, flags: list[str], images: int | None = None) -> Trained:
    """Trains on all digits for it, or the first `images` of them, and counts right answers on those held out."""
    import keras

    from export.__main__ import parse
    from export.data.dataset import load
    from export.progress import Progress, Stage
    from export.training import adapt, checkpoints, train, weights

    row, progress = ARCHITECTURES[name], Progress()
    size = row.smallest_size
    specs = parse(["--model", name, "--image-size", str(size), "--strategy", "full", *flags])
    assert isinstance(specs, tuple)
    spec, silent = specs[0], Stage("", lambda text: None)
    keras.backend.clear_session()
    keras.utils.set_random_seed(spec.seed)
    source = sources.find(spec.data)
    dataset = load(source, size, silent, spec.data_options.max_bad_files)
    learned = Split(dataset.train.images[:images], dataset.train.classes[:images])
    start = weights.start(row, size, len(dataset.labels), spec.weights)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        checkpoints.keep(Path(folder), checkpoints.describe_request(spec), resume=False) as kept,
    ):
        training = adapt.adapt(spec, start, replace(dataset, train=learned), kept, progress)
    seconds = time.monotonic() - began
    (phase,) = training.phases
    return Trained(
        size=size,
        parameters=start.model.count_params(),
        accuracy=round(train.evaluate(start.model, row, dataset.held_out, dataset.labels, silent).accuracy, 4),
        images=len(learned.classes),
        epochs=phase["epochs"],
        batch_size=phase["batch_size"],
        learning_rate=phase["learning_rate"],
        seconds=round(seconds, 1),
        precision=spec.training.precision,
    )


if __name__ == "__main__":
    sys.exit(main())
