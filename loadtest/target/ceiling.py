"""What this machine can compute at most: a large matrix product in an engine and a precision.

    python -m loadtest.target.ceiling litert int8 2 0.5

prints 10^9 multiply-adds a second on two threads, measured for half a second. No network of a service is faster. A
process of its own: an engine's threads and memory are its alone.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from service.backends.embedded.race import LITERT, OPENVINO

FLOAT32, BFLOAT16, FLOAT16, INT8, DYNAMIC = "float32", "bfloat16", "float16", "int8", "dynamic"
PRODUCT = "512 x 2048 x 2048"
_ROWS, _SIDE = 512, 2048
_SCALE = 0.001  # of an int8 step
MACS = _ROWS * _SIDE * _SIDE
"""Multiply-adds of the product."""

_LEAST_CALLS = 5
_FILES = {BFLOAT16: FLOAT32, FLOAT16: FLOAT32}  # the other precisions are a file's own
_HINTS = {BFLOAT16: "bf16", FLOAT16: "f16"}  # OpenVINO's own names
_KEYS = (
    *((LITERT, precision) for precision in (FLOAT32, INT8, DYNAMIC)),
    *((OPENVINO, precision) for precision in (FLOAT32, BFLOAT16, FLOAT16, INT8)),
)
_PATIENCE = 60.0

Call = Callable[[], object]


@cache
def measure_ceiling(engine: str, precision: str, threads: int, seconds: float) -> float | None:
    """10^9 multiply-adds a second, in a new process. `precision` is what a version's profile says that it computes in.

    None where this program has no such engine here, or the engine has no product in that precision.
    """
    computed_in = find_arithmetic(engine, precision)
    if (engine, computed_in) not in _KEYS:
        return None
    command = [sys.executable, "-m", "loadtest.target.ceiling", engine, computed_in, str(threads), str(seconds)]
    try:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_PATIENCE)
    except (subprocess.SubprocessError, OSError):
        return None
    return float(done.stdout.split()[-1])


def find_arithmetic(engine: str, precision: str) -> str:
    """What `engine` multiplies in. LiteRT's float16 is that of weights, which it widens first."""
    return FLOAT32 if not precision or (engine, precision) == (LITERT, FLOAT16) else precision


def make_matrices() -> tuple[Any, Any]:
    """float32 [512, 2048] and [2048, 2048]; their product is of the first one's size."""
    random = np.random.default_rng(0)
    rows, weights = (random.standard_normal(shape, np.float32) for shape in ((_ROWS, _SIDE), (_SIDE, _SIDE)))
    return rows, weights / np.float32(_SIDE**0.5)


def make_product(precision: str) -> bytes:
    """A LiteRT file of one dense layer: input [512, 2048], weights [2048, 2048]. Its precision is float32, int8, or
    dynamic: weights int8, and rows that are quantized as they come.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    _, weights = make_matrices()
    content = weights if precision == FLOAT32 else np.clip(weights / _SCALE, -127, 127).astype(np.int8)

    def make_tensor(name: str, height: int, buffer: int, scales: int) -> Any:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, [height, _SIDE], buffer
        tensor.type = schema.TensorType.INT8 if scales else schema.TensorType.FLOAT32
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [_SCALE] * scales, [0] * scales
        return tensor

    graph, layer, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    scales = {FLOAT32: (0, 0), INT8: (1, 1), DYNAMIC: (0, _SIDE)}[precision]
    graph.tensors = [
        make_tensor("rows", _ROWS, 0, scales[0]),
        make_tensor("weights", _SIDE, 1, scales[1]),
        make_tensor("product", _ROWS, 0, scales[0]),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [layer]
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0, 1, -1], [2]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    layer.builtinOptions.asymmetricQuantizeInputs = precision == DYNAMIC
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    empty, kept = schema.BufferT(), schema.BufferT()
    kept.data = content.view(np.uint8).ravel()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [empty, kept]
    builder = flatbuffers.Builder(content.nbytes + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def open_litert(path: Path, threads: int) -> Call:
    """A call of a LiteRT file: of its signature `image` where it has one, else of the only entry."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    if "image" in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner("image")
        image = _make_image(runner.get_input_details()["image"]["shape"])
        return lambda: runner(image=image)
    interpreter.allocate_tensors()
    invoke: Call = interpreter.invoke
    return invoke


def open_openvino(path: Path, precision: str, threads: int) -> Call:
    """The same in OpenVINO, which reads it with the shapes of one image."""
    from service.backends.embedded import openvino

    core = openvino.import_openvino().Core()
    network = core.read_model(str(path))
    port = next((each for each in network.inputs if str(each.element_type) == "<Type: 'uint8_t'>"), network.inputs[0])
    shape = [1 if size.is_dynamic else size.get_length() for size in port.partial_shape]
    network.reshape({port: shape})
    hints = {
        "INFERENCE_PRECISION_HINT": _HINTS.get(precision, "f32"),
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(network, "CPU", hints).create_infer_request()
    rows = _make_image(shape) if len(shape) == 4 else np.ones(shape, port.element_type.to_dtype())
    return lambda: request.infer([rows])


def _make_image(shape: Any) -> Any:
    return np.random.default_rng(0).integers(0, 256, (1, *shape[1:]), np.uint8)


def time_call(call: Call, seconds: float) -> float:
    """Seconds of one call: the median of those of `seconds`."""
    call()
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while len(taken) < _LEAST_CALLS or time.perf_counter() < until:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    engine, precision, threads, seconds = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        product = Path(folder, "product.tflite")
        product.write_bytes(make_product(_FILES.get(precision, precision)))
        if engine == LITERT:
            call = open_litert(product, int(threads))
        else:
            call = open_openvino(product, precision, int(threads))
        print(MACS / time_call(call, float(seconds)) / 1e9)


if __name__ == "__main__":
    main()
