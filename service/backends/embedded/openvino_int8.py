"""`python -m service openvino-int8 MODEL.tflite MODEL.xml --images FILE.npy`: the same network in int8 for OpenVINO.
It then answers questions. The exporter runs it, to quantize and to measure.

Quantizing needs NNCF, serving does not. In a process of its own: OpenVINO's readers and TensorFlow in one process have
ended it, and what NNCF takes of memory is the system's again.

One JSON line to stdout says that the file is there. Then each line on stdin is a question, and gets one line:
{"images": A.npy, "answers": B.npy} writes the probabilities, float32 [N, classes], of images, uint8 [N, H, W, 3];
{"images": A.npy, "seconds": S} gives the median {"milliseconds": M} of one call on one thread, over S seconds.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TextIO

import numpy as np

from service.backends.embedded import openvino
from service.backends.embedded.litert import Layout, LiteRTRunner, ModelFile
from service.backends.golden import INT8
from service.errors import ServiceError
from service.host.cpu import cores
from service.host.processes import end_with_parent, release_memory
from service.repository.manifest import PROBABILITIES, Signature

_IMAGE = "image"  # an export's signature of decoded images, and its input


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m service openvino-int8",
        description="Writes a float32 TFLite file as OpenVINO's own file in int8, quantized by NNCF; then answers "
        "questions on stdin about it, one JSON line each.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("target", type=Path, metavar="MODEL.xml")
    parser.add_argument("--images", type=Path, metavar="FILE.npy", required=True, help="calibrate on: uint8 [N,H,W,3]")
    given = parser.parse_args(arguments)
    end_with_parent()
    with _claim_stdout() as replies:
        try:
            signatures = LiteRTRunner(ModelFile.read(given.model), Layout(1, 1)).signatures
            openvino.quantize(given.model, given.target, np.load(given.images))
            release_memory()
            answerer = _Answerer(given.target, signatures)
            print("{}", file=replies, flush=True)
            for line in sys.stdin:
                print(json.dumps(answerer.answer(json.loads(line))), file=replies, flush=True)
        except (ImportError, OSError, ValueError, ServiceError) as error:
            print(f"python -m service openvino-int8: {error}", file=sys.stderr)
            return 1
    return 0


class _Answerer:
    """The quantized network, compiled for all cores, and for one thread while it is timed."""

    def __init__(self, path: Path, signatures: Mapping[str, Signature]) -> None:
        """Raises ValueError where OpenVINO cannot run it."""
        self._path, self._signatures = path, signatures
        self._wide = self._compile(cores())
        if _IMAGE not in self._wide.signatures:
            raise ValueError(f"{path}: OpenVINO answers {sorted(self._wide.signatures)}, and not images")

    def answer(self, question: Mapping[str, object]) -> Mapping[str, float]:
        images = {_IMAGE: np.load(str(question["images"]))}
        if "answers" in question:
            np.save(str(question["answers"]), self._wide.call(_IMAGE, images)[PROBABILITIES])
            return {}
        runner, seconds = self._compile(1), float(str(question["seconds"]))
        runner.call(_IMAGE, images)  # the first one lays out memory
        taken: list[float] = []
        until = time.perf_counter() + seconds
        while not taken or time.perf_counter() < until:
            began = time.perf_counter()
            runner.call(_IMAGE, images)
            taken.append(time.perf_counter() - began)
        return {"milliseconds": 1000 * median(taken)}

    def _compile(self, threads: int) -> openvino.OpenVINORunner:
        return openvino.OpenVINORunner(self._path, self._signatures, INT8, Layout(1, threads))


def _claim_stdout() -> TextIO:
    """Stdout for replies alone: what NNCF prints there about its progress goes nowhere."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return replies
