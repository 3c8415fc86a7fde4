"""A machine's ceiling: the product that is timed is what it is called, and every engine that is here runs it."""

from pathlib import Path

import numpy as np
import pytest

from loadtest.target import ceiling
from service.backends.embedded import openvino


@pytest.mark.parametrize(("precision", "tolerance"), [(ceiling.FLOAT32, 1e-3), (ceiling.DYNAMIC, 0.2)])
def test_the_product_multiplies_its_rows_by_the_weights(precision: str, tolerance: float) -> None:
    from ai_edge_litert.interpreter import Interpreter

    rows, weights = ceiling.make_matrices()
    interpreter = Interpreter(model_content=ceiling.make_product(precision))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], rows)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, rows @ weights.T, atol=tolerance)
    assert len(rows) * weights.size == ceiling.MACS


def test_weights_in_float16_are_held_against_float32() -> None:
    found = ceiling.measure_ceiling("litert", "float16", 1, 0.01)
    assert found is not None and found > 0


def test_float16_of_openvino_is_held_against_float16() -> None:
    assert ceiling.find_arithmetic("openvino", "float16") == ceiling.FLOAT16
    assert ceiling.find_arithmetic("litert", "float16") == ceiling.FLOAT32


@pytest.mark.skipif(not openvino.find_version(), reason="OpenVINO is not installed")
def test_openvino_computes_int8_in_int8(tmp_path: Path) -> None:
    product = tmp_path / "product.tflite"
    product.write_bytes(ceiling.make_product(ceiling.INT8))
    network = openvino.import_openvino().Core().compile_model(str(product), "CPU").get_runtime_model()
    kinds = {str(each.get_rt_info()["layerType"].value): each for each in network.get_ordered_ops()}
    assert str(kinds["FullyConnected"].get_rt_info()["runtimePrecision"].value) in ("i8", "u8")


@pytest.mark.parametrize("key", [("tensorflow", "float32"), ("litert", "bfloat16"), ("", "")])
def test_others_have_none(key: tuple[str, str]) -> None:
    assert ceiling.measure_ceiling(*key, 1, 0.01) is None
