"""What is asked of a pretrained network that is published as it is: `--weights imagenet|FILE` without `--data`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.data import photographs
from export.errors import UsageError
from export.report.options import FULL
from export.training import weights

MIN_AGREEMENT = 0.9


@dataclass(frozen=True, slots=True)
class AsIs:
    """`labels` is a file of class names, "" for those that come with the weights. `calibration` is a folder of images,
    "" for photographs that packages ship. `min_agreement` is the share of the images for which a quantized form has to
    give float32's answer. `measured` says that labelled images measure the network (`ExportSpec.data`), and take the
    place of the others.
    """

    labels: str = ""
    calibration: str = ""
    min_agreement: float = MIN_AGREEMENT
    measured: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError."""
        if self.labels and not Path(self.labels).is_file():
            raise UsageError(f"Invalid --labels {self.labels!r}: expected a text file with one class name a line")
        if self.calibration:
            photographs.find_files(Path(self.calibration))
        if not 0 <= self.min_agreement <= 1:
            raise UsageError(f"Invalid --min-agreement {self.min_agreement}: expected a share of images, from 0 to 1")


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "a pretrained network as it is",
        "--weights imagenet or --weights FILE without --data publishes the network with its own classes, untrained.\n"
        "Example: %(prog)s --model efficientnet_lite0 --weights imagenet --quantize int8",
    )
    group.add_argument(
        "--labels",
        metavar="FILE",
        help="its class names, one a line, in the order of its outputs (default: ImageNet's, or those of the exported "
        "version that FILE lies in)",
    )
    group.add_argument(
        "--calibration",
        metavar="DIR",
        help="a folder of images like those it will see, in folders or not: --quantize measures ranges on some of them "
        "and agreement with float32 on others (default: photographs from scikit-image and scikit-learn)",
    )
    group.add_argument(
        "--min-agreement",
        type=float,
        metavar="X",
        help="share of these images for which a quantized form has to name the class that float32 names "
        f"(default: {MIN_AGREEMENT})",
    )


def choose(args: argparse.Namespace, training: Sequence[str]) -> AsIs | None:
    """None where the network is trained or has random weights. Raises UsageError where flags contradict each other.

    `training` are the flags about training that were given, beside epochs, batch size and learning rate.
    """
    given = {
        "labels": args.labels,
        "calibration": args.calibration,
        "min_agreement": args.min_agreement,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if args.path is not None and args.data is not None:
        for name, instead in (("calibration", "--data calibrates"), ("min_agreement", "--max-accuracy-drop judges")):
            if name in given:
                raise UsageError(f"--{name.replace('_', '-')} is for a network without --data: {instead}, leave it out")
        return AsIs(**given, measured=True)
    if args.path is not None or (args.data is None and args.weights != weights.NONE):
        numbers = {"--epochs": args.epochs, "--batch-size": args.batch_size, "--learning-rate": args.learning_rate}
        for flag in (*(flag for flag, value in numbers.items() if value), *training):
            raise UsageError(
                f"{flag} trains, and there is nothing to learn from: give --data DIR (or --data digits), or "
                f"leave {flag} out, and the network is published as it is"
            )
        _refuse_measured(args)
        return AsIs(**given)
    if given:
        flag = "--" + next(iter(given)).replace("_", "-")
        raise UsageError(
            f"{flag} is for a pretrained network that is published as it is: with --weights imagenet or a file, and "
            "without --data, or with --from"
        )
    return None


def _refuse_measured(args: argparse.Namespace) -> None:
    """Raises UsageError for a flag about what only images with labels can tell."""
    if args.max_accuracy_drop is not None:
        raise UsageError(
            "--max-accuracy-drop needs images with labels, and there are none: give --min-agreement, which judges "
            "--quantize without them, or --data DIR"
        )
    if args.report == FULL:
        raise UsageError(
            "--report full needs images with labels, and there are none: give --data DIR, or leave it out, and the "
            "network is published without a report"
        )
