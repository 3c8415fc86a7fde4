"""Whether `--quantize` chooses what it would choose if it examined every candidate on every image.

`python -m benchmarks.quantized_choice` exports small networks in float32, chooses a form of each as the exporter does
and exhaustively: all candidates timed for long and asked about all held-out images, and all mixed forms with them. It
writes the table in docs/exporting.md and ends with 1 where the choice is another, or by other times slower.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import exported
from export.architectures import ARCHITECTURES
from export.architectures.architecture import Architecture
from export.data import dataset as data
from export.data import photographs, sources
from export.data.dataset import Dataset
from export.pretrained.options import MIN_AGREEMENT
from export.progress import Stage
from export.quantize import evaluate, schemes, select_litert
from export.quantize import mixed_precision as mixed
from export.quantize.candidates import AS_FAST, Candidate, Choice, choose_fastest
from export.quantize.convert import Convertible
from export.quantize.evaluate import Judge
from export.quantize.schemes import FLOAT32, INT8, Scheme
from export.spec import MAX_ACCURACY_DROP
from loadtest.markdown import markdown
from loadtest.target import machine
from service.repository.manifest import TFLITE, Manifest

PAGE = Path("docs/exporting.md")
REPOSITORY = Path("build/quantized_choice")

NETWORKS = {
    "lenet5": (),
    "mobilenet_v3_small": ("--image-size", "48"),
    "mobilenet_v2": ("--image-size", "64", "--epochs", "8"),
    "efficientnet_lite0": ("--weights", "imagenet"),
}
"""Flags of an export: of networks trained on the digits, and of one with ImageNet's weights, judged by agreement."""

_ROUNDS = 5
_BEGIN, _END = "<!-- quantized choice: written by benchmarks.quantized_choice -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of one network: `choice` as the exporter makes it in `seconds`, `best` of all `candidates` in `all_seconds`.

    `by_its_times` is the best of all by the times that the exporter measured. `ratio` is the time of the chosen form
    over that of `best`, both from the exhaustive measurement.
    """

    name: str
    images: int
    choice: Choice
    seconds: float
    best: Candidate
    candidates: int
    all_seconds: float
    by_its_times: Candidate
    ratio: float


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quantized_choice", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), metavar="NAME", help="(default: %(default)s)")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="exports in float32 (default: %(default)s)")
    arguments = parser.parse_args()
    found = []
    for name in arguments.networks:
        folder, manifest = exported(arguments.repository, name, NETWORKS.get(name, ()))
        print(f"{name} ...", flush=True)
        found.append(compare(folder / TFLITE, manifest))
        print(tabulate(found), flush=True)
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), tabulate(found)), encoding="utf-8")
    return any(each.by_its_times is not each.choice.chosen or each.ratio > AS_FAST for each in found)


def compare(file: Path, manifest: Manifest) -> Comparison:
    row, stage = ARCHITECTURES[manifest.architecture], Stage("choosing", lambda text: None)
    assert manifest.preprocessing is not None  # this project's exports have one
    size = manifest.preprocessing.height
    if manifest.facts["dataset"]["name"] == sources.DIGITS:
        dataset, most_drop = data.load(sources.find(sources.DIGITS), size, stage), MAX_ACCURACY_DROP
    else:
        dataset, most_drop = photographs.load("", manifest.labels, size, stage), 1 - MIN_AGREEMENT
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, TFLITE.name)
        shutil.copyfile(file, copy)
        began = time.monotonic()
        judge = Judge(dataset, most_drop, evaluate.open_model(copy))
        choice = select_litert.choose(copy, row, schemes.SCHEMES, dataset, judge, or_float=True, stage=stage)
        chosen_at = time.monotonic()
        candidates, accurate = examine_all(file, row, dataset, most_drop, Path(folder))
        ended = time.monotonic()
    best = choose_fastest(accurate)
    (same,) = (each for each in candidates if each.name == choice.chosen.name)
    names = {each.name for each in accurate}
    in_order = sorted((each for each in choice.candidates if each.name in names), key=lambda each: each.cost)
    return Comparison(
        manifest.name,
        len(dataset.held_out.classes),
        choice,
        chosen_at - began,
        best,
        len(candidates),
        ended - chosen_at,
        choose_fastest(in_order),
        same.cost / best.cost,
    )


def examine_all(
    file: Path, row: Architecture, dataset: Dataset, most_drop: float, scratch: Path
) -> tuple[list[Candidate], list[Candidate]]:
    """All candidates of a float32 `model.tflite`, and those that are accurate enough.

    Of every int8 scheme that is not there are all mixed forms. What cannot be built is left out.
    """
    images = select_litert.spread(dataset.train, select_litert.CALIBRATION_IMAGES)
    convertible = Convertible(file.read_bytes(), images, row)
    build = partial(_build, convertible, images[:1], scratch)
    float32 = Candidate(FLOAT32, FLOAT32, file, file.stat().st_size)
    candidates = [float32, *build(schemes.SCHEMES)]
    wanted = _ask(float32, dataset)

    def examine(added: Sequence[Candidate]) -> list[Candidate]:
        for _ in range(_ROUNDS):
            evaluate.time_round(added, images[:8])
        return [each for each in added if _is_accurate(_ask(each, dataset), wanted, dataset, most_drop)]

    accurate = examine(candidates)
    for each in [each for each in candidates if each.precision == INT8 and each not in accurate]:
        scheme = next(scheme for scheme in schemes.SCHEMES if scheme.name == each.name)
        forms = build(list(mixed.forms(scheme, convertible, file, images[: select_litert.RANKING_IMAGES])))
        candidates += forms
        accurate += examine(forms)
    return candidates, accurate


def _build(convertible: Convertible, image: Any, folder: Path, wanted: Sequence[Scheme]) -> list[Candidate]:
    built = []
    for scheme in wanted:
        file = folder / f"{scheme.name}.tflite"
        try:
            file.write_bytes(convertible.under(scheme))
            evaluate.answers(file, image)
        except (ValueError, RuntimeError):
            continue
        built.append(Candidate(scheme.name, scheme.precision, file, file.stat().st_size))
    return built


def _ask(candidate: Candidate, dataset: Dataset) -> Any:
    return evaluate.answers(candidate.file, dataset.held_out.images).argmax(-1)


def _is_accurate(given: Any, wanted: Any, dataset: Dataset, most_drop: float) -> bool:
    """As `evaluate.Judge` has it: int [N] each, on all images."""
    classes = dataset.held_out.classes
    labelled = (classes >= 0).all()
    lost = (wanted == classes).sum() - (given == classes).sum() if labelled else (given != wanted).sum()
    return bool(lost <= np.floor(most_drop * len(classes) + 1e-9))


def tabulate(found: Sequence[Comparison]) -> str:
    rows = [
        (
            each.name,
            str(each.images),
            each.choice.chosen.name,
            f"{each.seconds:.0f}",
            f"{_count_asked(each.choice):,}",
            each.by_its_times.name,
            each.best.name,
            f"{each.all_seconds:.0f}",
            f"{each.images * (each.candidates - 1):,}",
            f"{each.ratio:.2f}",
        )
        for each in found
    ]
    head = (
        "network",
        "images",
        "chosen",
        "s",
        "asked",
        "all asked",
        "and all timed",
        "s",
        "asked",
        "time of chosen / best",
    )
    return f"{markdown(head, rows, text=(0, 2, 5, 6))}\n\n{machine.describe()}."


def _count_asked(choice: Choice) -> int:
    """Answers of candidates beside float32."""
    return sum(each.quality.images for each in choice.candidates[1:] if each.quality is not None)


def render(page: str, table: str) -> str:
    """The page with another table."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{table}\n\n{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    sys.exit(main())
