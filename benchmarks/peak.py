"""How much of one core's ceiling each network reaches: `python -m benchmarks.peak`; `make bench` too.

The ceiling of an engine and a precision is what its large matrix product does on one thread: the most that a network of
nothing but such products could. What is found is kept in docs/reports/peak.json, of which docs/benchmarks.md is made.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from benchmarks.networks import CACHE, NETWORKS, find_version
from export.architectures.costs import COSTS
from loadtest.target import machine
from loadtest.target.ceiling import (
    BFLOAT16,
    FLOAT32,
    INT8,
    MACS,
    Call,
    make_matrices,
    measure_ceiling,
    open_litert,
    open_openvino,
    time_call,
)
from service.backends.embedded import openvino

RESULTS = Path("docs/reports/peak.json")
NAMES = (*NETWORKS, "efficientnet_lite0")
LITERT, OPENVINO, TENSORFLOW = "LiteRT", "OpenVINO", "TensorFlow"
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


def _multiply_by_tensorflow(precision: str) -> Call:
    os.environ["TF_SET_ONEDNN_FPMATH_MODE"] = "BF16" if precision == BFLOAT16 else "STRICT"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rows, weights = map(tf.constant, make_matrices())
    product = tf.function(tf.matmul)
    return lambda: product(rows, weights).numpy()


_KEYS: Sequence[Key] = (
    (LITERT, FLOAT32),
    (LITERT, INT8),
    (OPENVINO, FLOAT32),
    (OPENVINO, BFLOAT16),
    (OPENVINO, INT8),
    (TENSORFLOW, FLOAT32),
    (TENSORFLOW, BFLOAT16),
)


@cache
def _list_keys() -> Sequence[Key]:
    """Those that this machine has the library and the instructions for."""
    precisions = _run_apart(_find_precisions)
    return [
        (engine, precision)
        for engine, precision in _KEYS
        if (engine != OPENVINO or precisions) and (precision != BFLOAT16 or BFLOAT16 in precisions)
    ]


def _find_precisions() -> tuple[str, ...]:
    return openvino.find_precisions() if openvino.find_version() else ()


# Measuring


def _run_apart(call: Callable[..., Any], *arguments: object) -> Any:
    """In a new process: an engine's threads and settings are its alone."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(call, arguments)


def _time(engine: str, precision: str, path: Path, seconds: float) -> float:
    """Seconds of one image of a LiteRT file."""
    call = open_litert(path, threads=1) if engine == LITERT else open_openvino(path, precision, threads=1)
    return time_call(call, seconds)


def _time_tensorflow(precision: str, seconds: float) -> float:
    """Seconds of one product."""
    return time_call(_multiply_by_tensorflow(precision), seconds)


def measure_ceilings(seconds: float) -> dict[Key, float]:
    """10^9 multiply-adds a second on one thread."""
    found: dict[Key, float] = {}
    for engine, precision in _list_keys():
        if engine == TENSORFLOW:
            found[engine, precision] = MACS / _run_apart(_time_tensorflow, precision, seconds) / 1e9
        elif ceiling := measure_ceiling(engine.lower(), precision, 1, seconds):
            found[engine, precision] = ceiling
    return found


def measure_network(forms: Mapping[str, Path], seconds: float) -> dict[Key, float]:
    """Images a second, one at a time on one thread. `forms`: precision -> its LiteRT file; OpenVINO reads float32's."""
    keys = [(LITERT, precision) for precision in forms]
    keys += [(engine, precision) for engine, precision in _list_keys() if engine == OPENVINO and precision != INT8]
    files = {key: forms[key[1] if key[0] == LITERT else FLOAT32] for key in keys}
    return {key: 1 / _run_apart(_time, *key, path, seconds) for key, path in files.items()}


def measure(names: Sequence[str], seconds: float, kept: Peak | None = None) -> Peak:
    """Of the networks that are in the cache; each measurement takes `seconds`. With `kept`, the ceilings are its, and
    its other networks stay.
    """
    ceilings = kept.ceilings if kept else measure_ceilings(seconds)
    print(", ".join(f"{' '.join(key)} {ceiling:.0f}" for key, ceiling in ceilings.items()), "GMAC/s", flush=True)
    networks, macs = (dict(kept.networks), dict(kept.macs)) if kept else ({}, {})
    for name in names:
        if FLOAT32 not in (forms := find_forms(name)):
            print(f"{name} is left out: there is no {CACHE / name / 'float32.tflite'}, make bench makes it", flush=True)
            continue
        networks[name], macs[name] = measure_network(forms, seconds), find_macs(name) / 1e9
        print(name, {" ".join(key): round(rate, 1) for key, rate in networks[name].items()}, flush=True)
    return Peak(machine.describe(), ceilings, networks, macs)


def find_macs(name: str) -> int:
    """Multiply-adds of an image: as its export counted them, which in an older one are those of the published size."""
    found = find_version(CACHE / name / "repository", name)
    return (found and found[1].facts.get("macs")) or COSTS[name].macs


def find_forms(name: str) -> dict[str, Path]:
    """Precision -> file, of those in the cache: float32, and int8 where `--quantize` published it."""
    forms = {FLOAT32: CACHE / name / "float32.tflite"}
    if (found := find_version(CACHE / name / "repository", name)) and found[1].precision == INT8:
        forms[INT8] = found[0] / "model.tflite"
    return {precision: path for precision, path in forms.items() if path.is_file()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peak", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=",".join(NAMES), metavar="NAME,...", help="which (default: thirteen)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each measurement (default: 0.5)")
    parser.add_argument("--add", action="store_true", help=f"keep the ceilings and the other networks of {RESULTS}")
    arguments = parser.parse_args()
    kept = Peak.read(RESULTS) if arguments.add else None
    measure(arguments.networks.split(","), arguments.seconds, kept).write(RESULTS)
    print(f"written to {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
