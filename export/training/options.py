"""How a network is trained, as flags and as one value: strategy, optimizer, schedule, regularisation, interruption."""

import argparse
import difflib
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from export.data.names import escape
from export.errors import UsageError

AUTO, LINEAR_PROBE, FINE_TUNE, FULL, NONE = "auto", "linear_probe", "fine_tune", "full", "none"
STRATEGIES = (AUTO, LINEAR_PROBE, FINE_TUNE, FULL, NONE)

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
SCHEDULES = ("cosine", "exponential", "constant")
CLASS_WEIGHTS = ("auto", "balanced", "none")
FLOAT32, BFLOAT16, FLOAT16 = "float32", "mixed_bfloat16", "mixed_float16"
PRECISIONS = (FLOAT32, BFLOAT16, FLOAT16)
ALL = "all"
_SETTINGS = ("epochs", "batch_size", "learning_rate", "image_size")


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """`unfreeze` is a number of blocks, a share of them below 1, `all`, or None for what suits the data.

    `warmup` is a share of a phase's steps. `layer_decay` is the learning rate of a block over that of the block
    behind it. `class_weights` balances folders of unequal size; `dropout` None leaves the architecture's own rate.
    `patience` is in epochs, 0 never stops early, None suits the epochs. `log_dir` is a folder for histories.
    `explicit` names the settings that were asked for where the others are made to fit the data.
    """

    strategy: str = AUTO
    unfreeze: str | None = None
    optimizer: str = "adam"
    schedule: str = "cosine"
    warmup: float = 0.05
    layer_decay: float = 0.9
    label_smoothing: float = 0.0
    class_weights: str = "auto"
    dropout: float | None = None
    weight_decay: float | None = None
    patience: int | None = None
    precision: str = FLOAT32
    resume: bool = False
    log_dir: Path | None = None
    explicit: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raises UsageError, one line, naming what is nearest."""
        for flag, value, offered in (
            ("--strategy", self.strategy, STRATEGIES),
            ("--optimizer", self.optimizer, OPTIMIZERS),
            ("--schedule", self.schedule, SCHEDULES),
            ("--class-weights", self.class_weights, CLASS_WEIGHTS),
            ("--train-precision", self.precision, PRECISIONS),
        ):
            check_choice(flag, value, offered)
        _check_share("--warmup", self.warmup, 0, 0.9)
        _check_share("--layer-decay", self.layer_decay, 0.01, 1)
        _check_share("--label-smoothing", self.label_smoothing, 0, 0.9)
        _check_share("--dropout", self.dropout, 0, 0.95)
        _check_share("--weight-decay", self.weight_decay, 0, 1)
        if self.patience is not None and self.patience < 0:
            raise UsageError(f"Invalid --patience: expected a number of epochs, 0 or more, got {self.patience}")
        if self.log_dir is not None and self.log_dir.exists() and not self.log_dir.is_dir():
            raise UsageError(f"Invalid --log-dir: expected a folder, got the file {escape(self.log_dir)}")
        if self.unfreeze is not None:
            count_unfrozen(self.unfreeze, 1)
            if self.strategy not in (AUTO, FINE_TUNE):
                raise UsageError(f"--unfreeze goes with --strategy fine_tune, not {self.strategy}")


def check_choice(flag: str, value: str, offered: tuple[str, ...]) -> None:
    """Raises UsageError with the nearest of `offered` where `value` is none of them."""
    if value in offered:
        return
    near = difflib.get_close_matches(value.lower().replace("-", "_"), offered, n=2, cutoff=0.5)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"Invalid {flag}: expected one of {', '.join(offered)}, got {value!r}{meant}")


def count_unfrozen(text: str, blocks: int) -> int:
    """How many of so many blocks `--unfreeze` names: `all`, a number of them, or a share below 1. Raises UsageError."""
    if text == ALL:
        return blocks
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (0 < number < 1 or (number >= 1 and number.is_integer())):
        raise UsageError(f"Invalid --unfreeze: expected all, a number of blocks or a share below 1, got {text!r}")
    return min(blocks, int(number) if number >= 1 else max(1, round(number * blocks)))


def _check_share(flag: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"Invalid {flag}: expected a number from {least} to {most}, got {value}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a group of flags, which `read` reads."""
    add = parser.add_argument_group(
        "how it learns",
        "Defaults suit the network and the number of images; none of these has to be given.\n"
        "Example: %(prog)s --model resnet50 --weights imagenet --data photos/ --strategy linear_probe",
    ).add_argument
    add(
        "--strategy",
        default=AUTO,
        metavar="|".join(STRATEGIES),
        help="what of a network with --weights is trained. linear_probe: a new last layer only, in seconds. fine_tune: "
        "that first, then the last blocks before it, gently. full: everything from the start. none: nothing. auto "
        "chooses by the number of images a class and by a short trial, and says why (default: auto)",
    )
    add(
        "--unfreeze",
        metavar="N|SHARE|all",
        help="with fine_tune: how many of the network's last blocks are trained, such as 3, 0.5 or all "
        "(default: as suits the number of images)",
    )
    add("--optimizer", default="adam", metavar="|".join(OPTIMIZERS), help="(default: adam)")
    add(
        "--schedule",
        default="cosine",
        metavar="|".join(SCHEDULES),
        help="how the learning rate falls while it trains: along a cosine to 0, exponentially to a hundredth, or not "
        "at all (default: cosine)",
    )
    add(
        "--warmup",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of the steps in which the learning rate rises to its value first (default: 0.05)",
    )
    add(
        "--layer-decay",
        type=float,
        default=0.9,
        metavar="X",
        help="with fine_tune: each block learns at X times the rate of the block behind it; 1 is one rate for all "
        "(default: 0.9)",
    )
    add(
        "--label-smoothing",
        type=float,
        default=0.0,
        metavar="X",
        help="share of every label that is spread over all classes, against overconfidence (default: 0)",
    )
    add(
        "--class-weights",
        default="auto",
        metavar="|".join(CLASS_WEIGHTS),
        help="balanced lets an image of a rare class count for more; auto does so where the largest class has more "
        "than twice the images of the smallest (default: auto)",
    )
    add(
        "--dropout",
        type=float,
        metavar="X",
        help="share of the features that is left out at random ahead of the last layer (default: the model's own)",
    )
    add(
        "--weight-decay",
        type=float,
        metavar="X",
        help="pulls weights, but no biases and no batch norms, towards 0 (default: 0; 0.01 with adamw)",
    )
    add(
        "--patience",
        type=int,
        metavar="N",
        help="stop after N epochs without a higher accuracy or a lower loss on the validation images; 0 never stops. "
        "The last epoch that validated as well as any is kept (default: half of the epochs, at least 5)",
    )
    add(
        "--train-precision",
        default=FLOAT32,
        metavar="|".join(PRECISIONS),
        help="mixed precision is faster on GPUs and on CPUs with bfloat16 instructions; what is published has float32 "
        "weights all the same (default: float32)",
    )
    add(
        "--resume",
        action="store_true",
        help="go on where an interrupted run of the same command ended, after the last epoch it had on disk",
    )
    add(
        "--log-dir",
        type=Path,
        metavar="DIR",
        help="write each epoch's numbers there as CSV, and for TensorBoard where that package is installed",
    )


def list_given(options: TrainingOptions) -> tuple[str, ...]:
    """The flags that have other values than by default; --strategy none, which trains nothing, is none of them."""
    default = TrainingOptions(strategy=options.strategy if options.strategy == NONE else AUTO)
    names = [each.name for each in fields(options) if each.name != "explicit"]
    given = [name for name in names if getattr(options, name) != getattr(default, name)]
    return tuple("--train-precision" if name == "precision" else f"--{name.replace('_', '-')}" for name in given)


def read(args: Any) -> TrainingOptions:
    """The options in parsed arguments. Raises UsageError."""
    explicit = frozenset(key for key in _SETTINGS if getattr(args, key) is not None)
    strategy = args.strategy
    if args.epochs == 0:
        if strategy not in (AUTO, NONE):
            raise UsageError(f"--epochs 0 trains nothing, and --strategy {strategy} would; leave one of them out")
        strategy = NONE
    return TrainingOptions(
        strategy=strategy,
        unfreeze=args.unfreeze,
        optimizer=args.optimizer,
        schedule=args.schedule,
        warmup=args.warmup,
        layer_decay=args.layer_decay,
        label_smoothing=args.label_smoothing,
        class_weights=args.class_weights,
        dropout=args.dropout,
        weight_decay=args.weight_decay,
        patience=args.patience,
        precision=args.train_precision,
        resume=args.resume,
        log_dir=args.log_dir,
        explicit=explicit,
    )
