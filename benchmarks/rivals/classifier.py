"""What every rival computes for a request: this service's decoder, LiteRT around `model.tflite`, the five best labels.

Each rival runs in an environment of its own, so only what the decoder and LiteRT need is imported here.
"""

import os
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from service.preprocessing.decode import decode

WORKERS = len(os.sched_getaffinity(0))
"""Processes that compute, each with an interpreter of one thread: one a core, as this service has them."""

_TOP = 5

Answer = dict[str, list[dict[str, str | float]]]


class Classifier:
    """The network in one interpreter of one thread. One call at a time."""

    def __init__(self) -> None:
        """MODEL in the environment names an exported version's folder. Raises KeyError, OSError or ValueError."""
        version = Path(os.environ["MODEL"])
        self._interpreter = Interpreter(model_path=str(version / "model.tflite"), num_threads=1)
        self._run = self._interpreter.get_signature_runner("image")
        _, self._height, self._width, _ = self._run.get_input_details()["image"]["shape"]
        self._labels = (version / "assets" / "labels.txt").read_text(encoding="utf-8").splitlines()

    def classify(self, photo: bytes) -> Answer:
        """The most probable labels of an encoded image, the best first."""
        pixels = decode(photo, int(self._height), int(self._width))
        (probabilities,) = self._run(image=pixels[np.newaxis])["probabilities"]
        best = np.argsort(probabilities)[: -_TOP - 1 : -1]
        return {"predictions": [{"label": self._labels[k], "probability": float(probabilities[k])} for k in best]}
