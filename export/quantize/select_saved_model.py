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
from pathlib import Path
from typing import Any

import numpy as np

from export.convert.signatures import IMAGE, PROBABILITIES
from export.data.dataset import Dataset
from export.errors import ExportError
from export.progress import Stage
from export.quantize import half_precision as half
from export.quantize.candidates import Candidate, Choice, fastest
from export.quantize.evaluate import Judge
from export.quantize.schemes import AUTO, BFLOAT16, FLOAT16, FLOAT32
from export.quiet import silenced
from service.repository.manifest import SAVED_MODEL

XLA = ", XLA"
"""Behind the name of a form that is to be served with XLA: TF_XLA_FLAGS as in `XLA_FLAGS`."""

XLA_FLAGS = "--tf_xla_auto_jit=2"

_EVALUATION_BATCH = 32


def check_measurable(quantize: str | None) -> None:
    """Raises ExportError where `auto` would have nothing to measure on: before anything is trained."""
    if quantize == AUTO and not _gpus():
        raise ExportError(
            "--target gpu --quantize auto measures on a GPU, and TensorFlow sees none here; "
            f"ask for --quantize {FLOAT16} or {BFLOAT16}"
        )


def choose(folder: Path, dataset: Dataset, quantize: str, most_drop: float, stage: Stage) -> Choice:
    """Builds the forms `quantize` stands for beside the float32 SavedModel in `folder`, and puts the chosen there.

    Raises ExportError where none that was asked for is accurate enough.
    """
    wanted = _answers(folder, dataset.held_out.images)
    judges = Judge(wanted, dataset, most_drop)
    float32 = Candidate(FLOAT32, FLOAT32, (folder / SAVED_MODEL).read_bytes(), judges.quality(wanted))
    candidates = [float32]
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        folders = {FLOAT32: folder}
        for precision in (FLOAT16, BFLOAT16) if quantize == AUTO else (quantize,):
            stage.advance(len(candidates), 3, precision)
            folders[precision] = Path(scratch, precision)
            folders[precision].mkdir()
            half.write(folder, folders[precision], precision)
            quality = judges.quality(_answers(folders[precision], dataset.held_out.images))
            data = (folders[precision] / SAVED_MODEL).read_bytes()
            candidates.append(Candidate(precision, precision, data, quality))
        if _gpus():
            candidates = [timed for each in candidates for timed in _timed(each, folders[each.precision], stage)]
        asked = [each for each in candidates if quantize in (AUTO, each.precision)]
        accepted = [each for each in asked if not each.quality.refused]
        if not accepted:
            raise ExportError(f"refused to publish: {asked[0].name} {asked[0].quality.refused}; {judges.remedy}")
        chosen = fastest(accepted) if accepted[0].milliseconds else accepted[0]
        if chosen.precision != FLOAT32:
            shutil.copyfile(folders[chosen.precision] / SAVED_MODEL, folder / SAVED_MODEL)
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


def _timed(candidate: Candidate, folder: Path, stage: Stage) -> Iterator[Candidate]:
    for xla in (False, True):
        name = candidate.name + XLA * xla
        stage.advance(0, 1, f"timing {name}")
        yield Candidate(name, candidate.precision, candidate.data, candidate.quality, milliseconds(folder, xla))


def _answers(folder: Path, images: Any) -> Any:
    import tensorflow as tf

    with silenced():
        model = tf.saved_model.load(str(folder))
    run = model.signatures[IMAGE]
    starts = range(0, len(images), _EVALUATION_BATCH)
    return np.concatenate(
        [
            run(**{IMAGE: tf.constant(np.asarray(images[start : start + _EVALUATION_BATCH]))})[PROBABILITIES].numpy()
            for start in starts
        ]
    )


def _gpus() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
