"""A float32 LiteRT model -> the same model under a Scheme, by ai-edge-quantizer.

Weights are quantized per channel, activations per tensor with ranges seen on calibration images.
Preprocessing, the softmax and what goes in and out stay as they are: clients see float32 probabilities.
"""

import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.calibrator import CalibrationMode
from ai_edge_quantizer.qtyping import TFLOperationName as Operation
from ai_edge_quantizer.quantizer import Quantizer

from export.architectures.architecture import Architecture
from export.convert.signatures import IMAGE
from export.data import pixels
from export.quantize import flatbuffer
from export.quantize.schemes import Scheme
from export.quiet import silenced

_ANY = ".*"
_ALWAYS_FLOAT = (Operation.INPUT, Operation.OUTPUT, Operation.SOFTMAX)
_CALIBRATION_BATCH = 4


class Convertible:
    """One float32 model with the signatures `image` and `tensor`, calibrated once, quantized many times.

    `operations` names what can be left in float, in order, as `Scheme.floats` takes it; `layers` those of them
    that are convolutions or fully connected.
    """

    def __init__(self, float_model: bytes, images: Any, architecture: Architecture) -> None:
        """`images`, uint8 [N, H, W, 3], are real ones: on noise the ranges mean nothing.

        Only `image` is calibrated. `tensor` computes the same values, so its tensors get the same ranges: the
        two could not share their weights otherwise. What is fed to it gets its own range, because preprocessing
        may have become part of the weights of the first convolution behind `image`.
        """
        self._model = flatbuffer.with_unique_names(float_model)
        parsed = flatbuffer.read(self._model)
        self.layers = flatbuffer.layers(parsed)
        self.operations = flatbuffer.operations(parsed)
        self._preprocessing = flatbuffer.preprocessing(parsed)
        self._twins = flatbuffer.twins(parsed)
        ranges = self._calibrated(images)
        self._ranges = ranges | {name: ranges[twin] for name, twin in self._twins.items() if twin in ranges}
        entry, tensors = flatbuffer.entry(parsed), pixels.to_tensor(images, architecture).numpy()
        like = self._ranges[entry]
        self._ranges[entry] = {
            "min": np.full_like(like["min"], tensors.min()),
            "max": np.full_like(like["max"], tensors.max()),
        }

    def _calibrated(self, images: Any) -> dict[str, Any]:
        """The least and largest value of every float tensor of `image`, averaged over batches, by tensor name.

        Taken while the network runs: the library's other way copies every tensor and weight of every batch, which takes
        ten times as long and several times the memory, and gives the same numbers.
        """
        quantizer = Quantizer(self._model)
        quantizer.add_static_config(_ANY, Operation.ALL_SUPPORTED, 8, 8)
        batches = [
            {IMAGE: np.asarray(images[start : start + _CALIBRATION_BATCH])}
            for start in range(0, len(images), _CALIBRATION_BATCH)
        ]
        with silenced():
            seen = quantizer.calibrate(
                {IMAGE: batches}, num_threads=os.cpu_count() or 1, mode=CalibrationMode.CALIBRATION_PROFILER_BASED
            )
        return {name: values for name, values in seen.items() if values}

    def under(self, scheme: Scheme) -> bytes:
        """The file under `scheme`. Raises ValueError or RuntimeError where the quantizer does not know how."""
        with silenced():
            quantizer = Quantizer(self._model)
            for operation in map(Operation, scheme.operations):
                match scheme.how:
                    case "static":
                        quantizer.add_static_config(_ANY, operation, 8, 8)
                    case "dynamic":
                        quantizer.add_dynamic_config(_ANY, operation, 8)
                    case "float16":
                        quantizer.add_weight_only_config(_ANY, operation, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
            if scheme.how == "static":
                self._leave_in_float(quantizer, scheme.floats)
            ranges = self._ranges if quantizer.need_calibration else None
            result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return flatbuffer.with_own_names(bytes(result.quantized_model))

    def _leave_in_float(self, quantizer: Quantizer, layers: Iterable[str]) -> None:
        for operation in _ALWAYS_FLOAT:
            quantizer.update_quantization_recipe(_ANY, operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
        chosen = {*self._preprocessing, *layers}
        for name in chosen | {name for name, twin in self._twins.items() if twin in chosen}:
            quantizer.update_quantization_recipe(
                f"^{re.escape(name)};?$", Operation.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
