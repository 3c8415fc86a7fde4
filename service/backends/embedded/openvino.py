"""OpenVINO runs a float32 network in float32 or, where the processor has instructions for it, in bfloat16 or float16.
It runs a network that was quantized for it in int8.

It reads the float32 `model.tflite` that an export writes, and `assets.extra/openvino/model.xml` beside a quantized one,
whose operations it does not know; `int8.xml` lies beside that. It is never given a SavedModel: its reader of those ends
the process (2026.4). A foreign one is frozen by TensorFlow, and converted by another process.
"""

import importlib
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any, cast

import numpy as np

from service.backends.embedded.litert import Layout
from service.backends.embedded.threads import Threads, run_timed
from service.backends.golden import BFLOAT16, INT8
from service.errors import BackendFailed, InvalidInput
from service.repository.manifest import Signature, TensorSpec
from service.types import Array, Tensors

FLOAT32 = "float32"
FLOAT16 = "float16"
_HINTS = {FLOAT32: "f32", BFLOAT16: "bf16", FLOAT16: "f16", INT8: "f32"}
"""OpenVINO's own names. What is not quantized in an int8 network is in float32, as when its accuracy was measured."""
_CAPABILITIES = {BFLOAT16: "BF16", FLOAT16: "FP16"}
LARGEST_RUN = 8  # rows
_TOOLS = "openvino.tools.ovc"
_TELEMETRY = "openvino_telemetry"
_importing = threading.Lock()


def find_version() -> str:
    try:
        return version("openvino")
    except PackageNotFoundError:
        return ""


@cache
def find_precisions() -> tuple[str, ...]:
    """Those that this processor has instructions for, and that a float32 network can be computed in; float32 first."""
    able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return (FLOAT32, *(precision for precision, name in _CAPABILITIES.items() if name in able))


def import_openvino() -> Any:
    """The package without its conversion tools, whose import tells Intel about it: it writes an identifier below the
    user's home, forks this process and sends to Google Analytics (2026.4). Nothing here needs them.
    """
    with _importing:
        if "openvino" not in sys.modules:
            sys.modules[_TOOLS] = cast(
                ModuleType, None
            )  # an import of it raises ImportError, which the package expects
            try:
                return importlib.import_module("openvino")
            finally:
                del sys.modules[_TOOLS]
        return sys.modules["openvino"]


def convert(tflite: Path, target: Path) -> None:
    """Writes `target`, an `.xml`, and its weights in float16 beside it. Raises ValueError where OpenVINO cannot."""
    try:
        import_openvino().save_model(_core().read_model(str(tflite)), str(target), compress_to_fp16=True)
    except RuntimeError as error:
        raise ValueError(f"{tflite} cannot be read by OpenVINO: {_last_line(error)}") from error


def quantize(tflite: Path, target: Path, images: Array) -> None:
    """Writes `target`, an `.xml`, in int8 with ranges seen on `images`, uint8 [N,H,W,3], and its weights beside it.

    By NNCF's post-training quantization: weights per channel, activations per tensor, both symmetric, and biases
    corrected by what rounding shifts. Raises ValueError where OpenVINO or NNCF cannot.
    """
    nncf = _import_nncf()
    try:
        network = _core().read_model(str(tflite))
        network.reshape({port: _open_rows(port.partial_shape, None) for port in network.inputs})
        made = nncf.quantize(
            network,
            nncf.Dataset(images[:, np.newaxis]),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            # Else one bit of the first layer's weights is left unused, for processors without VNNI: their sums of two
            # products may overflow there, which golden answers show.
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
        )
        import_openvino().save_model(made, str(target), compress_to_fp16=True)
    except RuntimeError as error:
        raise ValueError(f"{tflite} cannot be quantized for OpenVINO: {_last_line(error)}") from error


def _import_nncf() -> Any:
    """The package without its reports to Google Analytics, which it leaves out where their library is missing."""
    import_openvino()
    sys.modules[_TELEMETRY] = cast(ModuleType, None)
    try:
        return importlib.import_module("nncf")
    finally:
        del sys.modules[_TELEMETRY]


def convert_graph(graph: Path, target: Path, aliases: Mapping[str, str]) -> None:
    """Writes a frozen TensorFlow graph as `target`, an `.xml`, and its weights as they are beside it. `aliases` are the
    names in a signature of the graph's tensors.

    Raises ValueError where OpenVINO cannot.
    """
    try:
        network = _core().read_model(str(graph))
        for port in (*network.inputs, *network.outputs):
            if found := {aliases[name] for name in port.names & aliases.keys()}:
                port.get_tensor().set_names(found)
        import_openvino().save_model(network, str(target), compress_to_fp16=False)
    except RuntimeError as error:
        raise ValueError(f"{graph} cannot be read by OpenVINO: {_last_line(error)}") from error


@cache
def _core() -> Any:
    core = import_openvino().Core()
    # A mapped file that is overwritten or cut short would end the process with SIGBUS.
    core.set_property({"ENABLE_MMAP": False})
    return core


class OpenVINORunner:
    """A pool of inference requests over one compiled network, a thread of this process behind each.

    One compilation runs every batch size: up to `LARGEST_RUN` rows it is as fast as one for that size alone (measured),
    and larger batches go in parts.
    """

    def __init__(self, path: Path, signatures: Mapping[str, Signature], precision: str, layout: Layout) -> None:
        """`signatures` are the version's; the runner has those that the network answers. `precision` is INT8
        for what `quantize` wrote, else one of `find_precisions`.

        Raises ValueError, naming the file, where OpenVINO cannot run it or it answers none of them.
        """
        if precision not in _HINTS:
            raise ValueError(f"unknown precision {precision!r:.20}; expected {' or '.join(_HINTS)}")
        try:
            network = _core().read_model(str(path))
            shapes = {alias: spec.shape for each in signatures.values() for alias, spec in each.inputs.items()}
            network.reshape(
                {port: _open_rows(port.partial_shape, shapes.get(_find_alias(port))) for port in network.inputs}
            )
            compiled = _core().compile_model(
                network,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": _HINTS[precision],
                    "NUM_STREAMS": layout.lanes,
                    "INFERENCE_NUM_THREADS": layout.lanes * layout.threads,
                    "ENABLE_CPU_PINNING": False,  # the cores are shared with the event loop and with other models
                },
            )
        except RuntimeError as error:
            raise ValueError(f"{path} cannot be run by OpenVINO: {_last_line(error)}") from error
        self._inputs = {_find_alias(port): index for index, port in enumerate(compiled.inputs)}
        self._outputs = {_find_alias(port): index for index, port in enumerate(compiled.outputs)}
        given = {_find_alias(port): _describe_output(port) for port in compiled.outputs}
        self.signatures = {  # with outputs that are not declared too, as LiteRT has them
            name: replace(signature, outputs={**given, **signature.outputs})
            for name, signature in signatures.items()
            if set(signature.inputs) == set(self._inputs) and set(signature.outputs) <= set(given)
        }
        if not self.signatures:
            raise ValueError(f"{path} answers none of the signatures {sorted(signatures)}")
        self.slots = layout.lanes
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(layout.lanes):
            self._free.put(compiled.create_infer_request())
        self._threads = Threads(layout.lanes)

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        return await self._threads.run(run_timed, self.call, signature, inputs)

    def call(self, signature: str, inputs: Tensors) -> Tensors:
        """`run` for a thread that may block. Raises BackendFailed, and InvalidInput where there are no rows."""
        for alias, array in inputs.items():
            if not array.size:
                raise InvalidInput(f"input {alias!r} has no values: its shape is {list(array.shape)}", input=alias)
        request = self._free.get()
        try:
            rows = max(len(array) for array in inputs.values())
            parts = [
                self._infer(request, {alias: array[start : start + LARGEST_RUN] for alias, array in inputs.items()})
                for start in range(0, rows, LARGEST_RUN)
            ]
        except RuntimeError as error:
            raise BackendFailed(f"OpenVINO failed: {_last_line(error)}") from error
        finally:
            self._free.put(request)
        names = self.signatures[signature].outputs
        if len(parts) == 1:
            return {alias: parts[0][alias] for alias in names}
        return {alias: np.concatenate([part[alias] for part in parts]) for alias in names}

    async def close(self) -> None:
        await self._threads.close()
        while not self._free.empty():
            self._free.get()

    def _infer(self, request: Any, inputs: Tensors) -> Tensors:
        found = request.infer({self._inputs[alias]: np.ascontiguousarray(array) for alias, array in inputs.items()})
        return {alias: np.array(found[index]) for alias, index in self._outputs.items()}


def _open_rows(shape: Any, declared: tuple[int | None, ...] | None) -> Any:
    """`shape`, or the `declared` one where the graph leaves it open, for 1 to `LARGEST_RUN` rows."""
    openvino = import_openvino()
    if shape.rank.is_dynamic and declared:
        shape = openvino.PartialShape([-1 if size is None else size for size in declared])
    sizes = list(shape)
    sizes[0] = openvino.Dimension(1, LARGEST_RUN)
    return openvino.PartialShape(sizes)


def _describe_output(port: Any) -> TensorSpec:
    sizes = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return TensorSpec(port.element_type.to_dtype().name, (None, *sizes[1:]))


def _find_alias(port: Any) -> str:
    """A tensor's name in its signature: TensorFlow's has the number of the operation's output behind it."""
    with suppress(RuntimeError):  # it has none
        return str(min(port.names, key=len)).removesuffix(":0")
    return ""


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
