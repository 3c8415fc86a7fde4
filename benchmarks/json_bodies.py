"""`python -m benchmarks.json_bodies`: JSON of many numbers, read and written, beside the obvious ways.

Reading is from bytes to a float32 array; writing is TensorFlow Serving's text, whose floats have six significant digits
where those read back the same, else nine.
"""

import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import orjson

from service.api.http import json_values
from service.api.tfserving import json_response
from service.types import Array

_ROUNDS = 7
_NUMBERS: dict[str, Callable[[np.random.Generator], Array]] = {
    "pixels, 0 to 255": lambda random: random.integers(0, 256, (1000, 1000)),
    "fractions of 6 digits": lambda random: random.random((1000, 1000)).round(6),
    "float32, every digit": lambda random: random.random((1000, 1000), np.float32).astype(np.float64),
}


def _read_with_json(body: bytes) -> Array:
    return np.array(json.loads(body)["instances"], np.float32)


def _read_with_orjson(body: bytes) -> Array:
    return np.array(orjson.loads(body)["instances"], np.float32)


def _read(body: bytes) -> Array:
    """As the service does: bounds before parsing, every element's type checked."""
    return json_values.read_array("image", json_values.parse(body)["instances"], "float32")


def _write_with_format(rows: Array) -> bytes:
    """The rule itself, a value at a time."""

    def spell(value: float) -> str:
        short = f"{value:.6g}"
        return short if np.float32(short) == value else f"{value:.9g}"

    texts = [f"[{', '.join(map(spell, row))}]" for row in rows.tolist()]
    return f'{{\n    "predictions": [{", ".join(texts)}\n    ]\n}}'.encode()


def _write_with_json(rows: Array) -> bytes:
    """Other digits: those of a double."""
    return json.dumps({"predictions": rows.tolist()}).encode()


def _write_with_orjson(rows: Array) -> bytes:
    """Other digits: the shortest of a float32."""
    return orjson.dumps({"predictions": rows}, option=orjson.OPT_SERIALIZE_NUMPY)


def _write(rows: Array) -> bytes:
    return json_response.render_predictions({"probabilities": rows})


def _time(*works: Callable[[], object]) -> list[float]:
    """The least milliseconds of each, which take turns: what others do on this machine only adds."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(_ROUNDS):
        for times, work in zip(taken, works, strict=True):
            began = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - began))
    return list(map(min, taken))


def main() -> None:
    random = np.random.default_rng(0)
    print("| 1,000 x 1,000 numbers to float32, ms | MB | json + NumPy | orjson + NumPy | this service | ratio |")
    print("| :--- | ---: | ---: | ---: | ---: | ---: |")
    for name, make in _NUMBERS.items():
        body = json.dumps({"instances": make(random).tolist()}).encode()
        assert np.array_equal(_read(body), _read_with_json(body))
        old, between, new = _time(*(partial(way, body) for way in (_read_with_json, _read_with_orjson, _read)))
        print(f"| {name} | {len(body) / 1e6:.1f} | {old:.0f} | {between:.0f} | {new:.0f} | {new / old:.2f} |")
    print("\n| 32 x 1,000 probabilities to JSON, ms | the rule | json* | orjson* | this service | ratio |")
    print("| :--- | ---: | ---: | ---: | ---: | ---: |")
    for name, rows in {
        "softmax": random.dirichlet(np.full(1000, 0.1), 32).astype(np.float32),
        "rounded to 4 digits": random.random((32, 1000)).round(4).astype(np.float32),
    }.items():
        assert np.array_equal(np.array(json.loads(_write(rows))["predictions"], np.float32), rows)
        times = _time(
            *(partial(way, rows) for way in (_write_with_format, _write_with_json, _write_with_orjson, _write))
        )
        print(f"| {name} | " + " | ".join(f"{taken:.1f}" for taken in times) + f" | {times[-1] / times[0]:.2f} |")
    print("\n* other digits than TensorFlow Serving's")


if __name__ == "__main__":
    main()
