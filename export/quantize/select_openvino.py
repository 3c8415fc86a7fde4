"""An int8 form for OpenVINO beside `model.tflite`: quantized by NNCF, and kept where it is accurate enough.

It does not compete with the forms of `model.tflite`: which engine is faster depends on the machine that serves, and
that machine lets them race. NNCF and OpenVINO run in another process.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from export.data.dataset import Dataset
from export.progress import Stage
from export.quantize import evaluate
from export.quantize.candidates import Candidate
from export.quantize.evaluate import Judge
from export.quantize.schemes import INT8
from export.quantize.select_litert import spread
from service.plurals import format_items
from service.repository.manifest import OPENVINO_INT8, OPENVINO_INT8_GOLDEN, TFLITE

NAME = "int8 for OpenVINO"
EXTRA = "openvino-int8"

_CALIBRATION_IMAGES = 100
_TIMED_SECONDS = 0.2
_MOST_SECONDS = 900.0
"""Of quantizing, and of one answer. ResNet50 takes a minute on two cores with other work."""


def find_missing() -> str:
    """Why this form cannot be made where OpenVINO is; "" where it can."""
    return "" if find_spec("nncf") else f"NNCF is not installed: pip install 'image-model-server[{EXTRA}]'"


def write(folder: Path, dataset: Dataset, judge: Judge, stage: Stage) -> Candidate:
    """Writes the form and its golden answers, from a float32 `model.tflite`.

    The candidate says how accurate it is; where that is not enough there are no files. Raises ValueError where it
    cannot be made.
    """
    target = folder / OPENVINO_INT8
    target.parent.mkdir(parents=True, exist_ok=True)
    images = spread(dataset.train, _CALIBRATION_IMAGES)
    stage.advance(0, 2, f"calibrating on {format_items(len(images), 'image')}")
    try:
        with quantize(folder / TFLITE, target, images) as network:
            stage.advance(1, 2, "examining it")
            size = sum(file.stat().st_size for file in (target, target.with_suffix(".bin")))
            candidate = Candidate(NAME, INT8, target, size)
            candidate.quality = judge.examine(NAME, network.compute, lambda _: "")
            candidate.rounds.append(network.time(images))
            if candidate.accepted:
                golden = np.asarray(dataset.held_out.images[: len(dataset.examples)])  # `samples.write` has the same
                np.save(folder / OPENVINO_INT8_GOLDEN, network.compute(golden))
    except BaseException:
        _remove(folder)
        raise
    if not candidate.accepted:
        _remove(folder)
    return candidate


class Network:
    """The int8 network in its process, which answers one question at a time."""

    def __init__(self, process: "subprocess.Popen[str]", scratch: Path, errors: IO[str]) -> None:
        self.process, self._scratch, self._errors = process, scratch, errors

    def compute(self, images: Any) -> Any:
        """Probabilities, float32 [N, C], of images, uint8 [N, H, W, 3]. Raises ValueError."""
        answers = self._scratch / "answers.npy"
        self.ask({"images": self._save(images), "answers": str(answers)})
        return np.load(answers)

    def time(self, images: Any) -> Mapping[int, float]:
        """Batch size -> milliseconds of one image, on one thread. Raises ValueError."""
        batches = [np.resize(images, (size, *images.shape[1:])) for size in evaluate.BATCHES]
        return {
            len(rows): float(self.ask({"images": self._save(rows), "seconds": _TIMED_SECONDS})["milliseconds"])
            / len(rows)
            for rows in batches
        }

    def ask(self, question: Mapping[str, object] | None = None) -> Mapping[str, Any]:
        """Its answer; None is answered when it is ready. Raises ValueError where it ends, or takes too long."""
        timer, began = threading.Timer(_MOST_SECONDS, self.process.kill), time.monotonic()
        timer.start()
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            if question is not None:
                print(json.dumps(question), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line:
            answer: Mapping[str, Any] = json.loads(line)
            return answer
        status = self.process.wait()
        if time.monotonic() - began >= _MOST_SECONDS:
            raise ValueError(f"it took longer than {_MOST_SECONDS:g} s")
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        raise ValueError(lines[-1][:300] if lines and status > 0 else f"its process ended with {status}")

    def _save(self, images: Any) -> str:
        np.save(file := self._scratch / "images.npy", images)
        return str(file)


@contextmanager
def quantize(model: Path, target: Path, images: Any) -> Iterator[Network]:
    """The network that was quantized on `images`, as long as its process runs. Raises ValueError."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+", errors="replace") as errors:
        np.save(calibration := Path(folder, "calibration.npy"), images)
        command = [sys.executable, "-m", "service", "openvino-int8", model, target, "--images", calibration]
        with subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            try:
                network = Network(process, Path(folder), errors)
                network.ask()
                yield network
            finally:
                process.kill()
                with suppress(OSError):  # what a dead process did not read
                    process.communicate()


def _remove(folder: Path) -> None:
    target = folder / OPENVINO_INT8
    for file in (target, target.with_suffix(".bin"), folder / OPENVINO_INT8_GOLDEN):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # another form is there
        target.parent.rmdir()
