"""TFLite files read and written again: weights as arrays, wherever in the file they lie."""

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.convert.litert import LiteModel
from export.quantize import flatbuffer
from tests.support import tflite_zoo


def test_weights_behind_the_flatbuffer_are_read_as_arrays_and_written_into_it(tmp_path: Path) -> None:
    """As the quantizer leaves them there. Bytes would be written one by one, by a loop in Python."""
    tflite_zoo.write(tmp_path / "model.tflite")
    model = flatbuffer.read((tmp_path / "model.tflite").read_bytes())
    behind = move_weights_behind(model)
    read = flatbuffer.read(behind)
    assert all(isinstance(each.data, np.ndarray) for each in read.buffers if each.data is not None)
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    for data in (behind, flatbuffer.write(read)):
        np.testing.assert_allclose(LiteModel(data, 1).run("dense", rows)["y"], rows @ tflite_zoo.WEIGHTS, rtol=1e-5)


def move_weights_behind(model: schema.ModelT) -> bytes:
    """The same file with all of its weights behind the flatbuffer, each at a multiple of 16 bytes."""
    held = [(each, bytes(each.data)) for each in model.buffers if each.data is not None]
    for each, data in held:
        each.data, each.offset, each.size = None, 1, len(data)  # 0 would not be written, and end elsewhere
    end = -(-len(flatbuffer.write(model)) // 16) * 16
    for each, data in held:
        each.offset, end = end, -(-(end + len(data)) // 16) * 16
    made = bytearray(flatbuffer.write(model).ljust(end, b"\0"))
    for each, data in held:
        made[each.offset : each.offset + each.size] = data
    return bytes(made)
