"""`model.tflite`: a frozen SavedModel converted for the embedded engine, and such a file called.

`python -m export.convert.litert SAVED_MODEL TARGET SIGNATURE...` converts in a process of its own.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.convert import lite_weights
from export.convert.lite_weights import LeftOut
from export.convert.signatures import IMAGE, TENSOR
from export.errors import ExportError
from export.memory import release_memory
from export.quiet import import_tensorflow, silenced
from service.repository.manifest import FEATURES, SAVED_MODEL

LARGE = 64_000_000
"""Bytes of a SavedModel from which on another process converts it: the converter takes a multiple of them, and what it
gives back is not the system's again. Another process costs the seconds of importing TensorFlow.
"""


def convert(saved_model: Path, target: Path, signatures: Sequence[str] = (IMAGE, TENSOR)) -> None:
    """Writes a float32 LiteRT model with these `signatures` over one set of weights.

    Where the SavedModel has features, both give them beside `probabilities`: they are there in every run, and a
    signature of their own would be a third subgraph with memory of its own.

    It converts the published graph itself, not the Keras model: a SavedModel that still has variables
    converts into one whose shared signatures answer NaN (TensorFlow 2.21). Raises ExportError.
    """
    if (saved_model / SAVED_MODEL).stat().st_size < LARGE:
        _convert(saved_model, target, signatures)
        return
    command = [sys.executable, "-m", "export.convert.litert", str(saved_model), str(target), *signatures]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        why = done.stderr.strip()[-500:] or f"the converter ended with status {done.returncode}"
        raise ExportError(f"the SavedModel cannot be converted to LiteRT: {why}")


def _convert(saved_model: Path, target: Path, signatures: Sequence[str]) -> None:
    """By the converter's inner function: TFLiteConverter loads the SavedModel three times to look at it, and copies
    what was converted (ResNet50: 2.8 GB and 14 CPU seconds, for 0.9 GB and 3).
    """
    kept: frozenset[str] = frozenset()
    while True:
        left_out = _convert_without(saved_model, target, signatures, kept)
        release_memory()  # some 300 MB for EfficientNet-Lite0
        missing = lite_weights.put_back(target, saved_model, left_out)
        release_memory()
        if not missing:
            return
        kept |= missing


def _convert_without(
    saved_model: Path, target: Path, signatures: Sequence[str], kept: frozenset[str]
) -> Mapping[float, LeftOut]:
    """Converts all but the large weights, except those `kept`, and returns what `lite_weights.put_back` needs."""
    with silenced(), tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        from tensorflow.lite.python import convert

        left_out = _write_with_features(saved_model, Path(scratch), kept)
        release_memory()
        model_flags = convert.build_model_flags(
            saved_model_dir=scratch,
            saved_model_version=1,
            saved_model_tags={"serve"},
            saved_model_exported_names=list(signatures),
        )
        # As TFLiteConverter sets it; the function's own default is another.
        flags = convert.build_conversion_flags(enable_composite_direct_lowering=True)
        target.write_bytes(convert.convert(model_flags, flags))
        return left_out


def _write_with_features(saved_model: Path, scratch: Path, kept: frozenset[str]) -> Mapping[float, LeftOut]:
    """The same SavedModel in `scratch` without its large weights, which are returned, except those `kept`. Signatures
    that give probabilities for numbers give features too.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel()
    document.ParseFromString((saved_model / SAVED_MODEL).read_bytes())
    (meta_graph,) = document.meta_graphs
    left_out = lite_weights.leave_out(meta_graph.graph_def, kept)
    definitions = meta_graph.signature_def
    if FEATURES in definitions:
        for name in (IMAGE, TENSOR):
            definitions[name].outputs[FEATURES].CopyFrom(definitions[FEATURES].outputs[FEATURES])
    (scratch / SAVED_MODEL).write_bytes(document.SerializeToString())
    return left_out


class LiteModel:
    """A TFLite file, called through its signatures: mapped where it is a path. Raises ValueError where it is none."""

    def __init__(self, model: bytes | Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        given = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        with silenced():
            self._interpreter = Interpreter(**given, num_threads=threads)

    def run(self, signature: str, rows: Any) -> dict[str, Any]:
        """Outputs by alias for `rows`, fed to the signature's only input."""
        with silenced():  # the first call announces XNNPACK
            runner = self._interpreter.get_signature_runner(signature)
            (alias,) = runner.get_input_details()
            return {name: np.array(value) for name, value in runner(**{alias: rows}).items()}

    def find_width(self) -> int | None:
        """How many features `image` gives an image; None where it gives none."""
        details = self._interpreter.get_signature_runner(IMAGE).get_output_details()
        return int(details[FEATURES]["shape"][-1]) if FEATURES in details else None

    def seconds(self, signature: str, rows: Any, at_least: float) -> float:
        """Median seconds of one call with `rows`, over as many as fit in `at_least` seconds, one at least."""
        with silenced():
            runner = self._interpreter.get_signature_runner(signature)
            (alias,) = runner.get_input_details()
            runner(**{alias: rows})
            taken: list[float] = []
            until = time.perf_counter() + at_least
            while not taken or time.perf_counter() < until:
                began = time.perf_counter()
                runner(**{alias: rows})
                taken.append(time.perf_counter() - began)
        return float(np.median(taken))


if __name__ == "__main__":
    import_tensorflow(trains=False)
    _convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
