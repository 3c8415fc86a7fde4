"""The form of the SavedModel to publish for GPUs: float32, float16 or bfloat16, with XLA or without.

Where TensorFlow sees a GPU every form is timed on it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from export.convert.signatures import IMAGE, PROBABILITIES
from export.data.dataset import Dataset
from export.errors import ExportError
from export.progress import Stage
from export.quantize import half_precision as half
from export.quantize import overflow
from export.quantize.candidates import Candidate, Choice, choose_fastest
from export.quantize.evaluate import Ask, Judge
from export.quantize.schemes import AUTO, BFLOAT16, FLOAT16, FLOAT32
from export.quiet import silenced
from export.verify.answers import Answers
from service.repository.manifest import SAVED_MODEL

XLA = ", XLA"
"""Behind the name of a form that is to be served with XLA: TF_XLA_FLAGS as in `XLA_FLAGS`."""

XLA_FLAGS = "--tf_xla_auto_jit=2"


def check_measurable(quantize: str | None) -> None:
    """Raises ExportError where `auto` would have nothing to measure on: before anything is trained."""
    if quantize == AUTO and not _gpus():
        raise ExportError(
            "--target gpu --quantize auto measures on a GPU, and TensorFlow sees none here; "
            f"ask for --quantize {FLOAT16} or {BFLOAT16}"
        )


def choose(
    folder: Path, dataset: Dataset, quantize: str, most_drop: float, stage: Stage, reference: Answers | None = None
) -> Choice:
    """Builds the forms `quantize` stands for beside the float32 SavedModel in `folder`, and puts the chosen there.

    `reference` is what float32 answers to the held-out images, where that is known already. Raises ExportError where
    none that was asked for is accurate enough.
    """
    judge = Judge(dataset, most_drop, _open(folder), reference)
    size = (folder / SAVED_MODEL).stat().st_size
    candidates = [Candidate(FLOAT32, FLOAT32, folder / SAVED_MODEL, size, judge.examine_float32())]
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        for precision in (FLOAT16, BFLOAT16) if quantize == AUTO else (quantize,):
            stage.advance(len(candidates), 3, precision)
            made = Path(scratch, precision)
            made.mkdir()
            half.write(folder, made, precision)
            explain = partial(overflow.explain_saved_model, made, folder)
            quality = judge.examine(precision, _open(made), explain, whole=True)
            size = (made / SAVED_MODEL).stat().st_size
            candidates.append(Candidate(precision, precision, made / SAVED_MODEL, size, quality))
        if _gpus():
            candidates = [timed for each in candidates for timed in _timed(each, stage)]
        asked = [each for each in candidates if quantize in (AUTO, each.precision)]
        accepted = [each for each in asked if each.accepted]
        if not accepted:
            raise ExportError(f"refused to publish: {asked[0].name} {asked[0].refusal}; {judge.remedy}")
        chosen = choose_fastest(accepted) if accepted[0].milliseconds else accepted[0]
        if chosen.precision != FLOAT32:
            shutil.copyfile(chosen.file, folder / SAVED_MODEL)
    return Choice(chosen, tuple(candidates), {})


def milliseconds(folder: Path, xla: bool) -> Mapping[int, float]:
    """Batch size -> milliseconds an image through `image`, in a process of its own: XLA is a process' choice."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if xla:
        environment["TF_XLA_FLAGS"] = XLA_FLAGS
    command = [sys.executable, "-m", "export.quantize.timing", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise ExportError(f"the SavedModel cannot be timed: {done.stderr.strip()[-500:]}")
    return {int(size): value for size, value in json.loads(done.stdout.splitlines()[-1]).items()}


def _timed(candidate: Candidate, stage: Stage) -> Iterator[Candidate]:
    for xla in (False, True):
        name = candidate.name + XLA * xla
        stage.advance(0, 1, f"timing {name}")
        yield replace(candidate, name=name, rounds=[milliseconds(candidate.file.parent, xla)])


def _open(folder: Path) -> Ask:
    import tensorflow as tf

    with silenced():
        model = tf.saved_model.load(str(folder))
    run = model.signatures[IMAGE]
    run.keep_alive = model  # a signature does not hold the model it came from
    return lambda images: run(**{IMAGE: tf.constant(images)})[PROBABILITIES].numpy()


def _gpus() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
