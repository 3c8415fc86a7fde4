"""How much of one core's ceiling each network reaches: `python -m benchmarks.peak`; `make bench` too.

The ceiling of an engine and a precision is what its large matrix product does on one thread: the most that a network of
nothing but such products could. What is found is kept in docs/reports/peak.json, of which docs/benchmarks.md is made.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.networks import CACHE, NETWORKS, find_version
from export.architectures.costs import COSTS
from loadtest.target import machine
from service.backends.embedded import openvino

RESULTS = Path("docs/reports/peak.json")
LITERT, OPENVINO, TENSORFLOW = "LiteRT", "OpenVINO", "TensorFlow"
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
_ROWS, _SIDE = 512, 2048
_MACS = _ROWS * _SIDE * _SIDE
_LEAST_CALLS = 5

Call = Callable[[], object]
Key = tuple[str, str]
"""Engine and precision."""


@dataclass(frozen=True)
class Peak:
    """10^9 multiply-adds a second, on one thread: `ceilings` by engine and precision. `networks`: name -> engine and
    precision -> images a second, one image at a time. `macs`: name -> 10^9 multiply-adds an image.
    """

    machine: str
    ceilings: Mapping[Key, float]
    networks: Mapping[str, Mapping[Key, float]]
    macs: Mapping[str, float]

    def share(self, network: str, key: Key) -> float | None:
        """Of the ceiling; None where that was not measured."""
        if key not in self.ceilings or key not in self.networks[network]:
            return None
        return self.networks[network][key] * self.macs[network] / self.ceilings[key]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        document = asdict(self) | {
            "ceilings": _join_keys(self.ceilings),
            "networks": {name: _join_keys(each) for name, each in self.networks.items()},
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError where there is none, ValueError where it is not one of ours."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            networks = {name: _split_keys(each) for name, each in found["networks"].items()}
            return cls(**found | {"ceilings": _split_keys(found["ceilings"]), "networks": networks})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} was not written by `python -m benchmarks.peak`: {error!r}") from error


def _join_keys(found: Mapping[Key, float]) -> dict[str, float]:
    return {" ".join(key): value for key, value in found.items()}


def _split_keys(found: Mapping[str, float]) -> dict[Key, float]:
    return {
        (engine, precision): value
        for (engine, precision), value in ((key.split(), each) for key, each in found.items())
    }


# Ceilings


def _make_matrices() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    rows, weights = (random.standard_normal(shape, np.float32) for shape in ((_ROWS, _SIDE), (_SIDE, _SIDE)))
    return rows, weights / np.float32(_SIDE**0.5)


def _write_product(target: Path, precision: str) -> None:
    """A LiteRT file of one dense layer, by TensorFlow's converter."""
    from export.quiet import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    rows, weights = _make_matrices()
    product = tf.function(lambda x: tf.matmul(x, tf.constant(weights)))
    concrete = product.get_concrete_function(tf.TensorSpec((_ROWS, _SIDE), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], product)
    if precision == INT8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter([[rows]])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(converter.convert())


def _find_product(precision: str) -> Path:
    path = CACHE / "products" / f"{precision}.tflite"
    if not path.is_file():
        _run_apart(_write_product, path, precision)
    return path


def _multiply_by_tensorflow(precision: str) -> Call:
    os.environ["TF_SET_ONEDNN_FPMATH_MODE"] = "BF16" if precision == BFLOAT16 else "STRICT"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rows, weights = map(tf.constant, _make_matrices())
    product = tf.function(tf.matmul)
    return lambda: product(rows, weights).numpy()


_KEYS: Sequence[Key] = (
    (LITERT, FLOAT32),
    (LITERT, INT8),
    (OPENVINO, FLOAT32),
    (OPENVINO, BFLOAT16),
    (TENSORFLOW, FLOAT32),
    (TENSORFLOW, BFLOAT16),
)


def _list_keys() -> list[Key]:
    """Those that this machine has the library and the instructions for."""
    precisions = _run_apart(_find_precisions)
    return [
        (engine, precision)
        for engine, precision in _KEYS
        if (engine != OPENVINO or precisions) and (precision != BFLOAT16 or BFLOAT16 in precisions)
    ]


def _find_precisions() -> tuple[str, ...]:
    return openvino.find_precisions() if openvino.find_version() else ()


# Networks


def _call_litert(path: Path) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    if "image" in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner("image")
        image = _make_image(runner.get_input_details()["image"]["shape"])
        return lambda: runner(image=image)
    interpreter.allocate_tensors()
    invoke: Call = interpreter.invoke
    return invoke


def _call_openvino(path: Path, precision: str) -> Call:
    core = openvino.import_openvino().Core()
    hint = {"INFERENCE_PRECISION_HINT": {FLOAT32: "f32", BFLOAT16: "bf16"}[precision]}
    network = core.read_model(str(path))
    port = next((each for each in network.inputs if str(each.element_type) == "<Type: 'uint8_t'>"), network.inputs[0])
    shape = [1 if size.is_dynamic else size.get_length() for size in port.partial_shape]
    network.reshape({port: shape})
    compiled = core.compile_model(network, "CPU", hint | {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1})
    request = compiled.create_infer_request()
    rows = _make_image(shape) if len(shape) == 4 else np.ones(shape, np.float32)
    return lambda: request.infer([rows])


def _make_image(shape: Any) -> Any:
    return np.random.default_rng(0).integers(0, 256, (1, *shape[1:]), np.uint8)


# Measuring


def _run_apart(call: Callable[..., Any], *arguments: object) -> Any:
    """In a new process: an engine's threads and settings are its alone."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(call, arguments)


def _time(engine: str, precision: str, path: Path, seconds: float) -> float:
    """Seconds of one call of the LiteRT file: the median. TensorFlow multiplies the matrices without a file."""
    if engine == TENSORFLOW:
        call = _multiply_by_tensorflow(precision)
    else:
        call = _call_litert(path) if engine == LITERT else _call_openvino(path, precision)
    call()
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while len(taken) < _LEAST_CALLS or time.perf_counter() < until:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def measure_ceilings(seconds: float) -> dict[Key, float]:
    """10^9 multiply-adds a second on one thread."""
    products = {precision: _find_product(precision) for precision in (FLOAT32, INT8)}
    files = {key: products.get(key[1], products[FLOAT32]) for key in _list_keys()}
    return {key: _MACS / _run_apart(_time, *key, path, seconds) / 1e9 for key, path in files.items()}


def measure_network(forms: Mapping[str, Path], seconds: float) -> dict[Key, float]:
    """Images a second, one at a time on one thread. `forms`: precision -> its LiteRT file; OpenVINO reads float32's."""
    keys = [(LITERT, precision) for precision in forms] + [key for key in _list_keys() if key[0] == OPENVINO]
    files = {key: forms[key[1] if key[0] == LITERT else FLOAT32] for key in keys}
    return {key: 1 / _run_apart(_time, *key, path, seconds) for key, path in files.items()}


def measure(names: Sequence[str], seconds: float) -> Peak:
    """Of the networks that are in the cache; each measurement takes `seconds`."""
    ceilings = measure_ceilings(seconds)
    print(", ".join(f"{' '.join(key)} {ceiling:.0f}" for key, ceiling in ceilings.items()), "GMAC/s", flush=True)
    networks = {}
    for name in names:
        if FLOAT32 not in (forms := find_forms(name)):
            print(f"{name} is left out: there is no {CACHE / name / 'float32.tflite'}, make bench makes it", flush=True)
            continue
        networks[name] = measure_network(forms, seconds)
        print(name, {" ".join(key): round(rate, 1) for key, rate in networks[name].items()}, flush=True)
    return Peak(machine.describe(), ceilings, networks, {name: COSTS[name].macs / 1e9 for name in networks})


def find_forms(name: str) -> dict[str, Path]:
    """Precision -> file, of those in the cache: float32, and int8 where `--quantize` published it."""
    forms = {FLOAT32: CACHE / name / "float32.tflite"}
    if (found := find_version(CACHE / name / "repository", name)) and found[1].precision == INT8:
        forms[INT8] = found[0] / "model.tflite"
    return {precision: path for precision, path in forms.items() if path.is_file()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peak", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=",".join(NETWORKS), metavar="NAME,...", help="which (default: twelve)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each measurement (default: 0.5)")
    arguments = parser.parse_args()
    measure(arguments.networks.split(","), arguments.seconds).write(RESULTS)
    print(f"written to {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
