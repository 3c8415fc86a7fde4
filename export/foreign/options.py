"""Where a network of one's own comes from and how it takes pixels, as flags and as one value."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from export.architectures.applications import CAFFE, RAW, SMALL, TF, TORCH
from export.architectures.architecture import Architecture, Scaling
from export.data.names import escape
from export.errors import ExportError, UsageError

PREPROCESSING = {"tf": TF, "torch": TORCH, "caffe": CAFFE, "raw": RAW}
KERAS = ".keras"
DEFAULT_SIZE = 224
TFLITE = ".tflite"
_HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True, slots=True)
class Foreign:
    """`path` is a `.keras` or `.tflite` file or the folder of a SavedModel. `scaling` is None where the network is to
    tell itself.

    `custom_objects` is a module or a Python file with the classes and functions that a `.keras` file names, "" where it
    names none. `runs_code` lets Lambda layers run the Python code that lies in the file.
    """

    path: Path
    scaling: Scaling | None = None
    custom_objects: str = ""
    runs_code: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError, one line."""
        path = escape(self.path)
        if self.path.is_dir():
            if not (self.path / "saved_model.pb").is_file():
                raise UsageError(f"--from {path}: expected a SavedModel, and this folder has no saved_model.pb")
        elif not self.path.is_file():
            raise UsageError(f"--from {path}: there is no such file or folder")
        elif self.path.suffix in _HDF5:
            raise UsageError(
                f"--from {path}: HDF5 is Keras' old format; open it with keras.saving.load_model and save it as .keras"
            )
        elif self.path.suffix == TFLITE:
            if self.scaling is None:
                raise UsageError(
                    f"--from {path}: a .tflite file does not tell how pixels are scaled; give --preprocessing, as it "
                    "was trained"
                )
            if self.custom_objects or self.runs_code:
                raise UsageError(f"--from {path}: --custom-objects and --allow-lambda are for .keras files")
        elif self.path.suffix != KERAS:
            raise UsageError(f"--from {path}: expected a .keras or .tflite file or the folder of a SavedModel")
        elif self.custom_objects.endswith(".py") and not Path(self.custom_objects).is_file():
            raise UsageError(f"--custom-objects {escape(Path(self.custom_objects))}: there is no such file")

    def describe(self) -> Architecture:
        """A row for it before it has been opened, which says nothing of the network but its name."""
        return Architecture(
            name=self.path.resolve().stem,
            family="",
            year=0,
            build=_refuse_to_build,
            input_size=DEFAULT_SIZE,
            smallest_size=1,
            channels=3,
            scaling=self.scaling or RAW,
            recipe=SMALL,
            parameters=0,
            classes=0,
            source=escape(self.path),
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "a network of your own",
        "--from publishes it as it is, with --labels FILE for the names of its classes. --data trains nothing then: "
        "its held-out images measure the network.\n"
        "Example: %(prog)s --from flowers.keras --labels flowers.txt --preprocessing tf",
    ).add_argument
    add(
        "--from",
        dest="path",
        type=Path,
        metavar="FILE.keras|FILE.tflite|DIR",
        help="a classifier saved by Keras 3, a LiteRT file, or the folder of a SavedModel; takes the place of --model",
    )
    add(
        "--preprocessing",
        metavar="tf|torch|caffe|raw|SCALE,OFFSET",
        help="how it takes pixels (0 to 255): tf from -1 to 1, torch by ImageNet's means and deviations, caffe as BGR "
        "without ImageNet's means, raw as they are, or times SCALE plus OFFSET (default: raw, where the network scales "
        "them itself)",
    )
    add(
        "--custom-objects",
        default="",
        metavar="MODULE|FILE.py",
        help="Python code with the layers and functions of yours that the .keras file names",
    )
    add(
        "--allow-lambda",
        action="store_true",
        help="let Lambda layers run the Python code in the file; only for files that you trust as you trust a program",
    )


def read(args: argparse.Namespace) -> Foreign | None:
    """None without --from. Raises UsageError."""
    if args.path is None:
        for flag, value in (
            ("--preprocessing", args.preprocessing),
            ("--custom-objects", args.custom_objects),
            ("--allow-lambda", args.allow_lambda),
        ):
            if value:
                raise UsageError(f"{flag} is for a network of your own: give --from FILE")
        return None
    for flag, value in (
        ("--model", args.model),
        ("--epochs", args.epochs),
        ("--batch-size", args.batch_size),
        ("--learning-rate", args.learning_rate),
    ):
        if value is not None:
            raise UsageError(f"--from publishes the network in a file as it is; leave {flag} out")
    if args.weights != "none":
        raise UsageError("--from publishes the network in a file with its own weights; leave --weights out")
    scaling = None if args.preprocessing is None else parse_scaling(args.preprocessing)
    return Foreign(args.path, scaling, args.custom_objects, args.allow_lambda)


def parse_scaling(text: str) -> Scaling:
    """Raises UsageError."""
    if text in PREPROCESSING:
        return PREPROCESSING[text]
    try:
        scale, offset = (float(part) for part in text.split(","))
    except ValueError:
        scale = offset = math.nan
    if not (math.isfinite(scale) and math.isfinite(offset) and scale):
        raise UsageError(
            f"Invalid --preprocessing: expected {', '.join(PREPROCESSING)} or SCALE,OFFSET such as 0.00392,0, "
            f"got {text!r}"
        )
    return Scaling(scale=(scale,), offset=(offset,))


def _refuse_to_build(shape: object, classes: int) -> object:
    raise ExportError("a network given with --from is opened from its file and cannot be built with random weights")
