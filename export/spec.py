"""What one export was asked to do, checked before anything heavy is imported."""

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from export.architectures import ARCHITECTURES
from export.architectures.architecture import Architecture, Recipe
from export.data import sources
from export.data.names import escape, is_text
from export.data.options import DataOptions
from export.errors import UsageError
from export.foreign.options import TFLITE, Foreign
from export.pretrained.options import AsIs
from export.quantize.schemes import AUTO, BFLOAT16, DYNAMIC, FLOAT16, INT8
from export.report.options import ReportOptions
from export.training import donor, weights
from export.training.options import FINE_TUNE, LINEAR_PROBE, TrainingOptions
from service.names import is_model_name
from service.repository.manifest import SAVED_MODEL

ALL = "all"
LARGEST_SIZE = 2048
MAX_ACCURACY_DROP = 0.005

CPU, GPU = "cpu", "gpu"
TARGETS = (CPU, GPU)
# The embedded engine has no kernels for bfloat16, and TensorFlow on GPUs none for int8.
_QUANTIZATIONS = {
    CPU: (AUTO, INT8, DYNAMIC, FLOAT16),
    GPU: (AUTO, FLOAT16, BFLOAT16),
}

_MEANT = 3


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """One model to train and publish. `data` is `digits`, a folder or a table, `weights` none, imagenet or a file.

    `quantize` is one of QUANTIZATIONS, or None for float32; `max_accuracy_drop` is the share of held-out
    images that a quantized form may get wrong more than float32 does; `target` says where it will run; `force`
    publishes what is no better than guessing; `as_is` asks for the network that the weights are of, untrained and with
    its own classes, and `data` says nothing then, unless it is `measured`; `foreign` is where a network of no row is,
    and `architecture` only names it until it is opened.
    """

    architecture: Architecture
    name: str
    data: str
    weights: str
    image_size: int
    recipe: Recipe
    seed: int
    repository: Path
    quantize: str | None = None
    max_accuracy_drop: float = MAX_ACCURACY_DROP
    target: str = CPU
    force: bool = False
    report: ReportOptions = field(default_factory=ReportOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    as_is: AsIs | None = None
    foreign: Foreign | None = None
    data_options: DataOptions = field(default_factory=DataOptions)

    @property
    def labelled(self) -> bool:
        """Whether `data` says what its images show, so that accuracy is measured on them."""
        return self.as_is is None or self.as_is.measured

    def __post_init__(self) -> None:
        """Raises UsageError, one line, for whatever can be known to fail without trying."""
        row = self.architecture
        if not is_model_name(self.name):
            raise UsageError(
                f"--name {self.name!r}: a model's name starts with a letter or digit and goes on with "
                "letters, digits, '.', '_' and '-', at most 128 in all"
            )
        _between("--image-size", self.image_size, row.smallest_size, LARGEST_SIZE, f" for {row.name}")
        _between("--epochs", self.recipe.epochs, 0, 100_000)
        _between("--batch-size", self.recipe.batch_size, 1, 65_536)
        _between("--seed", self.seed, 0, 2**32 - 1)
        if not (math.isfinite(self.recipe.learning_rate) and 0 < self.recipe.learning_rate <= 10):
            raise UsageError(f"--learning-rate {self.recipe.learning_rate}: give a number above 0, up to 10")
        if not 0 <= self.max_accuracy_drop <= 1:
            raise UsageError(f"--max-accuracy-drop {self.max_accuracy_drop}: give a share of images, from 0 to 1")
        if self.quantize is not None and self.quantize not in _QUANTIZATIONS[self.target]:
            offered = ", ".join(_QUANTIZATIONS[self.target])
            raise UsageError(f"--quantize {self.quantize}: --target {self.target} takes {offered}")
        self._check_weights()
        if self.labelled and self.data != sources.DIGITS:
            sources.find(self.data)
        self._check_repository()

    def _check_weights(self) -> None:
        row = self.architecture
        if self.foreign is not None:
            if self.foreign.path.suffix == TFLITE and (self.quantize is not None or self.target == GPU):
                raise UsageError(
                    "--from a .tflite file publishes it as it was converted; leave --quantize and --target out"
                )
            return
        if self.weights == weights.NONE:
            if self.training.strategy in (LINEAR_PROBE, FINE_TUNE):
                raise UsageError(
                    f"--strategy {self.training.strategy} builds on given weights, and --weights none gives none; "
                    "give --weights, or --strategy full"
                )
            return
        if self.weights == weights.IMAGENET:
            if row.pretrained is None:
                raise UsageError(f"--weights imagenet: there are none for {row.name}; use --weights none")
            return
        file = Path(self.weights)
        if file.is_file() and not self.weights.endswith(weights.SUFFIXES) and donor.is_hdf5(file):
            raise UsageError(f"--weights {donor.describe_whole_model(escape(file))}")
        if (file / SAVED_MODEL).is_file():
            raise UsageError(
                f"--weights {escape(file)} is the folder of a SavedModel, as Keras 2 wrote them: --from publishes it "
                "as it is; to train it, give its get_weights() to the same network built with Keras 3, and save that "
                "one as .keras"
            )
        if not self.weights.endswith(weights.SUFFIXES):
            raise UsageError(
                f"--weights {escape(file)}: give none, imagenet, or a file ending in .keras or .weights.h5"
            )
        if not file.is_file() or not os.access(file, os.R_OK):
            raise UsageError(f"--weights {escape(file)}: there is no such file, or it cannot be read")

    def _check_repository(self) -> None:
        if not is_text(str(self.repository)):  # TensorFlow writes to no such folder
            raise UsageError(
                f"--repository {escape(self.repository)}: its name is not UTF-8, or has control characters"
            )
        existing = self.repository.absolute()
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UsageError(f"--repository {self.repository}: {existing} is no folder that can be written")


def architectures(
    names: str, flag: str = "--model", rows: Mapping[str, Architecture] = ARCHITECTURES
) -> tuple[Architecture, ...]:
    """Those of `rows` in a comma-separated list; for `all` every classifier, the smallest first. `flag` is what gave
    the list.

    Raises UsageError with the nearest matches for an unknown name.
    """
    wanted = [name.strip() for name in names.split(",")]
    if ALL in wanted:
        return tuple(sorted(ARCHITECTURES.values(), key=lambda row: row.parameters))
    for name in wanted:
        if name not in rows:
            raise UsageError(f"{flag} {name!r} is unknown{_nearest(name, rows)} --list shows what there is")
    return tuple(rows[name] for name in dict.fromkeys(wanted))


def _nearest(name: str, rows: Iterable[str]) -> str:
    """Those whose name begins as `name` does, however it is spelled; else those that look like it."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    known = {plain(each): each for each in rows}
    asked = plain(name)
    close = sorted(each for each in known if asked and each.startswith(asked))
    close = close or difflib.get_close_matches(asked, known, n=_MEANT)
    return f"; did you mean {' or '.join(known[each] for each in close[:_MEANT])}?" if close else ";"


def _between(flag: str, value: int, least: int, most: int, where: str = "") -> None:
    if not least <= value <= most:
        raise UsageError(f"{flag} {value}: give a number from {least} to {most}{where}")
