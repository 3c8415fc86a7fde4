"""OpenVINO's form of a network whose `model.tflite` is quantized, whose operations it does not know: in float32."""

import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from export.progress import Stage
from service.repository.manifest import OPENVINO, TFLITE

TOLERANCE = 0.01
"""Of a probability, and of the largest feature: the weights are rounded to float16, and nothing else is."""


def is_installed() -> bool:
    return find_spec("openvino") is not None


def write(folder: Path, images: Any, stage: Stage) -> None:
    """Writes `assets.extra/openvino/` from a float32 `model.tflite`, held against that on `images`, uint8 [N,H,W,3].

    Without OpenVINO, or where that cannot run the network as LiteRT does, there is none: the version does without.
    """
    if not is_installed():
        stage.result = "OpenVINO is not installed"
        return
    target = folder / OPENVINO
    target.parent.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        rows = Path(work, "images.npy")
        np.save(rows, images)
        command = [
            sys.executable,
            "-m",
            "service",
            "openvino",
            str(folder / TFLITE),
            str(target),
            "--images",
            str(rows),
        ]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wrong = done.stderr.strip()[-500:] or f"exit status {done.returncode}"
    if done.returncode == 0:
        difference = float(json.loads(done.stdout)["difference"])
        if difference <= TOLERANCE:  # NaN is a failure too
            stage.result = f"largest difference {difference:.1e}"
            return
        wrong = f"its answers differ by {difference:.2g} (at most {TOLERANCE})"
    remove(folder)
    stage.warn(f"OpenVINO's form is left out, and LiteRT runs the version: {wrong}")


def remove(folder: Path) -> None:
    """Takes away what `write` wrote, where it wrote anything."""
    target = folder / OPENVINO
    for file in (target, target.with_suffix(".bin")):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # another form is there, or nothing was
        target.parent.rmdir()
