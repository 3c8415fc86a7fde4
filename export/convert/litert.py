"""`model.tflite`: a frozen SavedModel converted for the embedded engine, and such a file called."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.convert.signatures import IMAGE, TENSOR
from export.quiet import silenced

_LEAST_CALLS = 3


def convert(saved_model: Path, target: Path, signatures: Sequence[str] = (IMAGE, TENSOR)) -> None:
    """Writes a float32 LiteRT model with these `signatures` over one set of weights.

    It converts the published graph itself, not the Keras model: a SavedModel that still has variables
    converts into one whose shared signatures answer NaN (TensorFlow 2.21).
    """
    with silenced():
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=list(signatures))
        target.write_bytes(converter.convert())


class LiteModel:
    """A TFLite file in memory, called through its signatures. Raises ValueError where it is none."""

    def __init__(self, data: bytes, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with silenced():
            self._interpreter = Interpreter(model_content=data, num_threads=threads)

    def run(self, signature: str, rows: Any) -> dict[str, Any]:
        """Outputs by alias for `rows`, fed to the signature's only input."""
        with silenced():  # the first call announces XNNPACK
            runner = self._interpreter.get_signature_runner(signature)
            (alias,) = runner.get_input_details()
            return {name: np.array(value) for name, value in runner(**{alias: rows}).items()}

    def seconds(self, signature: str, rows: Any, at_least: float) -> float:
        """Median seconds of one call with `rows`, over as many as fit in `at_least` seconds, three at least."""
        with silenced():
            runner = self._interpreter.get_signature_runner(signature)
            (alias,) = runner.get_input_details()
            runner(**{alias: rows})
            taken: list[float] = []
            until = time.perf_counter() + at_least
            while len(taken) < _LEAST_CALLS or time.perf_counter() < until:
                began = time.perf_counter()
                runner(**{alias: rows})
                taken.append(time.perf_counter() - began)
        return float(np.median(taken))
