"""Flags -> candidates -> one export each, kept as it is done -> table, page, recommendation."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from export import spec
from export.advise.candidates import SCRATCH, WAYS, Bounds, Candidate, Failure, Result, recommend
from export.architectures.architecture import Architecture
from export.arguments import Parser
from export.convert.signatures import IMAGE
from export.data import sources
from export.errors import ExportError, UsageError
from export.report.options import OFF
from export.spec import ExportSpec
from export.training import checkpoints
from export.training.weights import IMAGENET
from service.host.files import write_whole
from service.repository.manifest import TFLITE

if TYPE_CHECKING:  # arguments are judged before any of this is needed
    from export.pipeline import Published
    from export.progress import Progress

MODELS, NUMBERS, PAGE = "models", "advice.json", "advice.html"
_PASSED_ON = ("data", "image_size", "epochs", "batch_size", "seed")


def main(arguments: Sequence[str]) -> int:
    """Tries every candidate that an earlier run of the same command did not. Raises ExportError and UsageError."""
    args = _parser().parse_args(arguments)
    bounds = Bounds(_positive("--max-ms", args.max_ms), _positive("--max-mb", args.max_mb))
    specs = _list_specs(args)
    from export.advise import page
    from export.progress import Progress
    from export.quiet import import_tensorflow
    from export.summary import name_interpreter

    progress = Progress()
    images = sources.fingerprint(sources.find(args.data))
    done = _read(args.output / NUMBERS)
    results: list[Result] = []
    failures: list[Failure] = []
    imported = False
    for number, (candidate, each) in enumerate(specs.items(), 1):
        request = {"ways": candidate.way, "images": images, **checkpoints.describe_request(each)}
        kept = done.get(candidate.name)
        if kept is not None and kept["request"] == request:
            results.append(_restore(candidate, kept["result"]))
            progress.note(f"{candidate.name} was tried before: accuracy {results[-1].accuracy:.4f}")
            continue
        if not imported:
            with progress.stage("importing TensorFlow"):
                import_tensorflow()
            imported = True
        progress.heading(f"{number}/{len(specs)} {candidate.name}, {each.image_size}x{each.image_size}")
        try:
            result = _try(candidate, each, progress)
        except ExportError as error:
            failures.append(Failure(candidate, str(error)))
            progress.note(f"{candidate.name} failed: {error}")
            continue
        results.append(result)
        done[candidate.name] = {"request": request, "result": asdict(result)}
        _write(args.output / NUMBERS, done)
    advice = recommend(results, bounds)
    print(page.format_table(results, failures, bounds, advice))
    (args.output / PAGE).write_text(page.render(str(args.data), results, failures, bounds, advice), encoding="utf-8")
    print(f"\nchart: {args.output / PAGE}")
    if advice.chosen is None:
        raise ExportError(advice.reason)
    name = advice.chosen.candidate.name
    print(f"\nRecommended: {name}: {advice.reason}")
    print(f"Serve it:    {name_interpreter()} -m service --repository {quote(str(args.output / MODELS))}")
    print(f"Ask it:      POST an image to http://localhost:8000/predict/{name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "export advise",
        "Adapt several networks to your images, each from scratch, by a linear probe and by fine-tuning, "
        "and recommend one. What was tried is kept: the same command goes on where it was interrupted.",
        "--data photos/ --models mobilenet_v2,resnet50 --max-ms 10",
    )
    add = parser.add_argument
    add(
        "--data", default="digits", metavar="digits|DIR|FILE.csv", help="the images, as for an export (default: digits)"
    )
    add("--models", required=True, metavar="NAME[,NAME...]", help="the networks; python -m export --list shows them")
    add(
        "--ways",
        default=",".join(WAYS),
        metavar=",".join(WAYS),
        help="how each is adapted; what is not from scratch needs weights (default: all three)",
    )
    add(
        "--weights",
        default=IMAGENET,
        metavar="imagenet|DIR",
        help="what a probe and fine-tuning start from: published weights, or a folder with NAME.keras of each network "
        "(default: imagenet)",
    )
    add("--max-ms", type=float, metavar="X", help="recommend nothing that takes longer for an image on this machine")
    add("--max-mb", type=float, metavar="Y", help="recommend nothing whose model.tflite is larger")
    add("--image-size", type=int, metavar="N", help="input height and width (default: each model's own)")
    add("--epochs", type=int, metavar="N", help="at most so many passes over the images (default: as suits them)")
    add("--batch-size", type=int, metavar="N", help="(default: as suits the images)")
    add("--seed", type=int, default=0, metavar="N", help="of weights and shuffling (default: 0)")
    add(
        "--output",
        type=Path,
        default=Path("build", "advise"),
        metavar="DIR",
        help=f"where {NUMBERS}, {PAGE} and the adapted models go (default: build/advise)",
    )
    return parser


def _positive(flag: str, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise UsageError(f"Invalid {flag}: expected a number above 0, got {value}")
    return value


def _list_specs(args: argparse.Namespace) -> Mapping[Candidate, ExportSpec]:
    """What to try, in the order of the arguments. Raises UsageError."""
    from export.training.options import check_choice

    ways = tuple(dict.fromkeys(each.strip() for each in args.ways.split(",")))
    for way in ways:
        check_choice("--ways", way, WAYS)
    found = {}
    for row in spec.architectures(args.models, "--models"):
        weights = _find_weights(row, args.weights)
        if weights is None and SCRATCH not in ways:
            raise UsageError(f"--ways {args.ways}: there are no weights for {row.name}; add {SCRATCH}, or leave it out")
        for way in ways:
            if way == SCRATCH or weights is not None:
                candidate = Candidate(row.name, way)
                found[candidate] = _specify(candidate, weights, args)
    return found


def _find_weights(row: Architecture, asked: str) -> str | None:
    """As --weights has it; None where there are none for this network."""
    if asked == IMAGENET:
        return None if row.pretrained is None else IMAGENET
    folder = Path(asked)
    if not folder.is_dir():
        raise UsageError(
            f"Invalid --weights: expected imagenet or a folder with NAME.keras of each model, got {asked!r}"
        )
    file = folder / f"{row.name}.keras"
    return str(file) if file.is_file() else None


def _specify(candidate: Candidate, weights: str | None, args: argparse.Namespace) -> ExportSpec:
    from export.__main__ import parse

    given = {key: value for key in _PASSED_ON if (value := getattr(args, key)) is not None}
    home = args.output / MODELS
    how = (
        ["--strategy", "full"] if candidate.way == SCRATCH else ["--strategy", candidate.way, "--weights", str(weights)]
    )
    resume = ["--resume"] if checkpoints.describe_interrupted(home / candidate.name) else []
    specs = parse(
        [
            *("--model", candidate.model, "--name", candidate.name, "--repository", str(home)),
            *("--force", "--report", OFF, *how, *resume),
            *(part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", str(value))),
        ]
    )
    assert specs is not None
    return specs[0]


def _try(candidate: Candidate, each: ExportSpec, progress: "Progress") -> Result:
    from tensorflow.errors import ResourceExhaustedError

    from export import pipeline

    try:
        try:
            return _summarize(candidate, pipeline.export(each, progress))
        except UsageError:  # the interrupted run was asked for something else
            if not each.training.resume:
                raise
            afresh = replace(each, training=replace(each.training, resume=False))
            return _summarize(candidate, pipeline.export(afresh, progress))
    except (MemoryError, ResourceExhaustedError) as error:
        raise ExportError("out of memory or disk; try a smaller --batch-size or --image-size") from error


def _summarize(candidate: Candidate, published: "Published") -> Result:
    from export.report.classification import bound_share
    from export.verify import chance

    assert published.score is not None  # it was trained on labelled images
    accuracy, images = published.score.accuracy, published.held_out
    return Result(
        candidate=candidate,
        accuracy=accuracy,
        interval=bound_share(round(accuracy * images), images),
        images=images,
        seconds=published.training.seconds,
        parameters=published.parameters,
        size=published.sizes[str(TFLITE)],
        milliseconds=published.profile.milliseconds[IMAGE][1],
        better_than_guessing=not any(each.startswith(chance.NOT_SHOWN) for each in published.warnings),
    )


def _read(file: Path) -> dict[str, Any]:
    """What earlier runs kept, by candidate's name. Raises UsageError where the file is something else."""
    if not file.is_file():
        return {}
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))["candidates"]
        return {name: {"request": each["request"], "result": each["result"]} for name, each in kept.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is not what an earlier run wrote; remove it, or give another --output") from error


def _write(file: Path, done: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps({"candidates": done}, indent=1).encode())


def _restore(candidate: Candidate, kept: Mapping[str, Any]) -> Result:
    return Result(**{**kept, "candidate": candidate, "interval": tuple(kept["interval"])})
