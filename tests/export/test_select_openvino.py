"""The int8 form for OpenVINO that an export writes beside `model.tflite`: a real lenet5, NNCF and OpenVINO."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from export.data import dataset as data
from export.data import sources
from export.progress import Stage
from export.quantize import evaluate, select_openvino
from export.quantize.candidates import BESIDE, Candidate, Choice
from export.quantize.evaluate import BATCHES, Judge
from service.repository.manifest import OPENVINO_INT8, OPENVINO_INT8_GOLDEN, TFLITE

pytestmark = pytest.mark.skipif(
    find_spec("openvino") is None or find_spec("nncf") is None, reason="OpenVINO or NNCF is not installed"
)
SILENT = Stage("test", lambda text: None)


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(sources.digits(), 28, SILENT)


@pytest.fixture
def folder(lenet5_repository: Path, tmp_path: Path) -> Path:
    shutil.copy(lenet5_repository / "lenet5" / "1" / TFLITE, tmp_path)
    return tmp_path


def test_the_form_is_small_and_as_accurate_as_its_row_says(folder: Path, digits: data.Dataset) -> None:
    judge = Judge(digits, 0.02, evaluate.open_model(folder / TFLITE))
    made = select_openvino.write(folder, digits, judge, SILENT)
    assert made.accepted and made.quality is not None and made.quality.accuracy is not None
    assert set(made.milliseconds) == set(BATCHES)
    assert made.size < 0.6 * (folder / TFLITE).stat().st_size  # much of it is XML
    with select_openvino.quantize(folder / TFLITE, folder / "again.xml", digits.train.images[:8]) as network:
        assert network.compute(digits.held_out.images[:3]).shape == (3, 10)
    float32 = Candidate("float32", "float32", folder / TFLITE, 1)
    assert Choice(float32, (float32,), {}, made).verdict(made) == BESIDE
    golden = np.load(folder / OPENVINO_INT8_GOLDEN)
    right = (golden.argmax(-1) == digits.held_out.classes[: len(golden)]).mean()
    assert golden.shape == (len(digits.examples), 10) and right >= made.quality.accuracy - 0.4


def test_a_form_that_loses_too_much_leaves_its_row_and_no_file(folder: Path, digits: data.Dataset) -> None:
    held_out = replace(digits.held_out, classes=np.full_like(digits.held_out.classes, -1))
    unknown, ask = replace(digits, held_out=held_out), evaluate.open_model(folder / TFLITE)
    judge = Judge(unknown, 0.1, lambda images: np.roll(ask(images), 1, axis=-1))  # int8 agrees with none of it
    made = select_openvino.write(folder, unknown, judge, SILENT)
    assert not made.accepted and made.refusal.startswith("agrees with float32 on 0.0")
    assert made.milliseconds
    assert [file.name for file in folder.rglob("*") if file.is_file()] == [TFLITE.name]
    float32 = Candidate("float32", "float32", folder / TFLITE, 1)
    assert Choice(float32, (float32,), {}, made).verdict(made) == f"refused: {made.refusal}"


@pytest.mark.parametrize(
    ("damage", "why"), [(b"TFL3", "only half of one"), (None, "No such file")], ids=["damaged", "missing"]
)
def test_what_cannot_be_quantized_says_why_and_leaves_nothing(
    folder: Path, digits: data.Dataset, damage: bytes | None, why: str
) -> None:
    target = folder / OPENVINO_INT8
    target.parent.mkdir(parents=True)
    model = folder / "other.tflite"
    if damage is not None:
        model.write_bytes(damage)
    with (
        pytest.raises(ValueError, match=why),
        select_openvino.quantize(model, target, digits.train.images[:2]),
    ):
        pytest.fail("it has no network")
    assert not list(target.parent.iterdir())


def test_a_process_that_is_killed_is_an_error_of_one_line(folder: Path, digits: data.Dataset) -> None:
    images = digits.train.images[:2]
    with select_openvino.quantize(folder / TFLITE, folder / "int8.xml", images) as network:
        network.process.kill()
        network.process.wait()
        with pytest.raises(ValueError, match="its process ended with -9"):
            network.compute(images)


def test_a_process_that_takes_too_long_is_ended_and_says_so(
    folder: Path, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select_openvino, "_MOST_SECONDS", 0.1)  # it takes longer to start
    with (
        pytest.raises(ValueError, match=r"it took longer than 0\.1 s"),
        select_openvino.quantize(folder / TFLITE, folder / "int8.xml", digits.train.images[:2]),
    ):
        pytest.fail("it has no network")


def test_without_nncf_the_reason_is_one_line_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select_openvino.find_missing() == ""
    monkeypatch.setattr(select_openvino, "find_spec", lambda name: None)
    assert select_openvino.find_missing() == "NNCF is not installed: pip install 'image-model-server[openvino-int8]'"
