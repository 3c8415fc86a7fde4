"""Trains every network that is built here on handwritten digits, at the smallest size it can be built for.

It shows that a network learns from random weights with its row's recipe, which a count of parameters does not: each has
to name at least nine of ten held-out digits. Hours on two cores for all of them.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from export.architectures import ARCHITECTURES
from export.data import sources
from export.quiet import import_tensorflow

LEAST_ACCURACY = 0.9
BUILT_HERE = tuple(row.name for row in ARCHITECTURES.values() if row.weights_by != "Keras" and row.name != "lenet5")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--networks", default=",".join(BUILT_HERE), metavar="NAME,...", help="which to train (default: all built here)"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="most passes over the images (default: each row's own)")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="(default: each row's own)")
    arguments = parser.parse_args()
    import_tensorflow()
    print("| network | size | parameters | accuracy | epochs | seconds |\n|---|---:|---:|---:|---:|---:|", flush=True)
    failed = []
    for name in arguments.networks.split(","):
        given = {"--epochs": arguments.epochs, "--learning-rate": arguments.learning_rate}
        flags = [text for flag, value in given.items() if value is not None for text in (flag, str(value))]
        accuracy = _train(name, flags)
        if accuracy < LEAST_ACCURACY:
            failed.append(name)
    if failed:
        print(f"below {LEAST_ACCURACY}: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def _train(name: str, flags: list[str]) -> float:
    """Prints a line on one network, and returns its accuracy on held-out digits."""
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
    start = weights.start(row, size, len(dataset.labels), spec.weights)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        checkpoints.keep(Path(folder), checkpoints.describe_request(spec), resume=False) as kept,
    ):
        training = adapt.adapt(spec, start, dataset, kept, progress)
    accuracy = train.evaluate(start.model, row, dataset.held_out, dataset.labels, silent).accuracy
    epochs = sum(phase["epochs"] for phase in training.phases)
    print(
        f"| {name} | {size} | {start.model.count_params():,} | {accuracy:.4f} | {epochs} | "
        f"{time.monotonic() - began:.0f} |",
        flush=True,
    )
    return accuracy


if __name__ == "__main__":
    sys.exit(main())
