"""`--quantize` as people run it: what is published, what the manifest says of the rest, and that it serves."""

import re
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from export.architectures import ARCHITECTURES
from export.convert import freeze, litert
from export.convert.litert import LiteModel
from export.data import dataset as data
from export.data import photographs, pixels, sources
from export.errors import ExportError
from export.progress import Stage
from export.quantize import evaluate as judge
from export.quantize import flatbuffer, overflow, schemes
from export.quantize import half_precision as half
from export.quantize import mixed_precision as mixed
from export.quantize import select_litert as lite
from export.quantize import select_saved_model as saved_model
from export.quantize.candidates import AS_FAST, BESIDE, Choice, choose_fastest
from export.quantize.convert import Convertible
from export.quantize.select_openvino import NAME
from service.preprocessing.decode import decode
from service.repository import checksums
from service.repository.manifest import (
    OPENVINO,
    OPENVINO_INT8,
    OPENVINO_INT8_GOLDEN,
    SAMPLES,
    SAVED_MODEL,
    TFLITE,
    Manifest,
)
from tests.support.exporter import export
from tests.support.images import encode, photo
from tests.support.service_process import running

pytestmark = pytest.mark.slow

SIZE = 48
LOOKS = [
    (0, 1),
    (100, 2),
    (200, 4),
    (300, 1),
    (0, 8),
    (300, 3),
    (150, 1),
    (50, 2),
]  # of the photograph: column, darkness
LENET5 = ARCHITECTURES["lenet5"]
SILENT = Stage("test", lambda text: None)
INT8 = next(scheme for scheme in schemes.SCHEMES if scheme.name == "int8")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A version folder of an int8 MobileNetV3Small, and what its export printed."""
    repository = tmp_path_factory.mktemp("quantized")
    said = export(
        *("--model", "mobilenet_v3_small", "--image-size", SIZE, "--epochs", 6),
        *("--quantize", "int8", "--max-accuracy-drop", 0.03, "--repository", repository),
    )
    return repository / "mobilenet_v3_small" / "1", said


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(sources.digits(), 28, SILENT)


@pytest.fixture(scope="module")
def lenet5(lenet5_repository: Path) -> bytes:
    return (lenet5_repository / "lenet5" / "1" / TFLITE).read_bytes()


@pytest.fixture(scope="module")
def convertible(lenet5: bytes, digits: data.Dataset) -> Convertible:
    return Convertible(lenet5, digits.train.images[::20], LENET5)


def manifest(version: Path) -> Manifest:
    read = Manifest.read(version, version.parent.name, 1)
    assert read is not None
    return read


def kinds(model: bytes) -> Counter[str]:
    """How many tensors there are of each dtype, by TFLite's names."""
    names = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    return Counter(names[tensor.type] for graph in flatbuffer.read(model).subgraphs for tensor in graph.tensors)


def test_int8_is_small_and_as_accurate_as_its_manifest_says(quantized: tuple[Path, str]) -> None:
    version, _ = quantized
    made, model = manifest(version), (version / TFLITE).read_bytes()
    table = {row["name"]: row for row in made.facts["quantization"]["candidates"]}
    (published,) = (row for row in table.values() if row["verdict"] == "published")
    assert made.precision == published["precision"] in ("int8", "mixed")
    assert len(model) == published["bytes"] <= 0.3 * table["float32"]["bytes"]
    split = data.load(sources.digits(), SIZE, SILENT).held_out
    accuracy = (judge.answers(model, split.images).argmax(-1) == split.classes).mean()
    assert made.facts["accuracy"] == published["accuracy"] == pytest.approx(accuracy, abs=0.003)
    assert accuracy >= table["float32"]["accuracy"] - 0.03


def test_openvino_gets_the_float32_network_as_a_file_of_its_own(quantized: tuple[Path, str]) -> None:
    version, _ = quantized
    if find_spec("openvino") is None:
        assert not (version / OPENVINO).exists()
        return
    weights = (version / OPENVINO).with_suffix(".bin")
    float32 = manifest(version).facts["quantization"]["candidates"][0]
    assert 0.4 * float32["bytes"] < weights.stat().st_size < 0.6 * float32["bytes"]
    assert str(OPENVINO) in (version / "assets.extra" / "files.json").read_text()


@pytest.mark.skipif(find_spec("openvino") is None or find_spec("nncf") is None, reason="OpenVINO or NNCF is missing")
def test_openvino_s_int8_form_lies_beside_where_it_keeps_the_budget(quantized: tuple[Path, str]) -> None:
    version, said = quantized
    (row,) = (each for each in manifest(version).facts["quantization"]["candidates"] if each["name"] == NAME)
    assert row["verdict"] == BESIDE or row["verdict"].startswith("refused")
    listed = (version / "assets.extra" / "files.json").read_text()
    for file in (OPENVINO_INT8, OPENVINO_INT8.with_suffix(".bin"), OPENVINO_INT8_GOLDEN):
        assert (version / file).exists() == (str(file) in listed) == (row["verdict"] == BESIDE)
    assert NAME in said and row["verdict"] in said


@pytest.mark.skipif(find_spec("openvino") is None or find_spec("nncf") is None, reason="OpenVINO or NNCF is missing")
def test_openvino_s_int8_form_of_imagenet_s_weights_is_served_within_its_budget(tmp_path: Path) -> None:
    asked = ("--model", "efficientnet_lite0", "--weights", "imagenet", "--image-size", 128, "--quantize", "int8")
    export(*asked, "--min-agreement", 0.8, "--repository", tmp_path / "models")
    version = tmp_path / "models" / "efficientnet_lite0" / "1"
    (row,) = (each for each in manifest(version).facts["quantization"]["candidates"] if each["name"] == NAME)
    assert row["verdict"] == BESIDE
    for file in (OPENVINO, OPENVINO.with_suffix(".bin")):
        (version / file).unlink(missing_ok=True)  # int8 is the only form that is left for OpenVINO
    checksums.write(version)
    images = photographs.load("", ("",), 128, SILENT).held_out.images[::6]
    published = tf.saved_model.load(str(version))  # in float32; a signature does not keep it alive
    float32 = published.signatures["image"](image=tf.constant(np.asarray(images)))["probabilities"].numpy().argmax(-1)
    labels = manifest(version).labels
    with running("--repository", version.parents[1], "--engine", "openvino", "--cache-dir", tmp_path) as service:
        service.wait_ready()
        profile = httpx.get(f"{service.url}/models/efficientnet_lite0").json()["manifest"]["profile"]
        assert (profile["engine"], profile["precision"]) == ("openvino", "int8")
        given = []
        for image in images:
            reply = httpx.post(f"{service.url}/predict/efficientnet_lite0", content=encode(image, "PNG"))
            given.append(reply.json()["predictions"][0]["label"])
    agreed = np.mean([label == labels[index] for label, index in zip(given, float32, strict=True)])
    assert agreed >= 0.7, agreed  # of a few of the images that decided


def test_every_candidate_was_timed_and_the_fastest_accurate_one_published(quantized: tuple[Path, str]) -> None:
    version, said = quantized
    rows = manifest(version).facts["quantization"]["candidates"]
    assert [row["name"] for row in rows[:5]] == ["float32", *(scheme.name for scheme in schemes.of("int8"))]
    assert rows[0]["agreement_with_float32"] == 1

    def cost(row: dict[str, Any]) -> float:
        return float(np.prod(list(row["milliseconds_an_image_by_batch"].values())))

    (published,) = (row for row in rows if row["verdict"] == "published")
    rivals = [row for row in rows[1:] if not row["verdict"].startswith(("refused", BESIDE))]
    assert cost(published) <= min(map(cost, rivals)) * AS_FAST**2
    held_out = manifest(version).facts["dataset"]["held_out"]
    assert published["images"] == rows[0]["images"] == held_out
    for row in rows:
        assert set(row["milliseconds_an_image_by_batch"]) == {"1", "8"}
        assert 0 <= row["images"] <= held_out
        if row["images"]:
            assert 0 <= row["worst_class"]["accuracy"] <= row["accuracy"] <= 1
        else:
            assert row["accuracy"] is row["agreement_with_float32"] is row["worst_class"] is None
            assert cost(row) * AS_FAST**2 >= cost(published)
            assert row["verdict"].startswith(("takes ", "as fast, and larger"))
        assert row["name"] in said and row["verdict"] in said
    assert kinds((version / TFLITE).read_bytes())["INT8"] > 50


def test_a_quantized_version_serves(quantized: tuple[Path, str]) -> None:
    version, _ = quantized
    with running("--repository", version.parents[1]) as service:
        service.wait_ready()
        first = {}
        for sample in (version / SAMPLES).iterdir():
            reply = httpx.post(f"{service.url}/predict/mobilenet_v3_small", content=sample.read_bytes())
            assert reply.status_code == 200
            first[sample.name.partition("-")[0]] = reply.json()["predictions"][0]["label"]
    right = sum(wanted == given for wanted, given in first.items())
    assert right >= 0.8 * len(first)


def test_both_entries_of_a_quantized_model_share_weights_and_answers(
    convertible: Convertible, lenet5: bytes, digits: data.Dataset
) -> None:
    model = convertible.under(INT8)
    images = digits.held_out.images[:32]
    tensor = (images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))[..., np.newaxis] * 0.005 - 0.1
    lite = LiteModel(model, threads=1)
    through_image = lite.run("image", images)["probabilities"]
    np.testing.assert_allclose(through_image, lite.run("tensor", tensor)["probabilities"], atol=0.02)
    assert len(model) < 0.35 * len(lenet5)


@pytest.mark.parametrize(("name", "size"), [("nasnet_mobile", 32), ("inception_v3", 75)])
def test_entries_agree_however_the_converter_arranged_them(name: str, size: int, tmp_path: Path) -> None:
    """NASNet: operations in another order. Inception: preprocessing within the first convolution."""
    row = ARCHITECTURES[name]
    keras.utils.set_random_seed(0)
    model = row.build(row.shape(size), 10)
    images = np.stack([decode(encode(photo()[:, start : start + 300] // dark), size, size) for start, dark in LOOKS])
    tensor = pixels.to_tensor(images, row).numpy()
    head = model.layers[-1].kernel  # untrained, it answers all images alike: make it tell them apart
    head.assign(head * (2 / np.log(model(tensor, training=False).numpy()).std(axis=0).mean()))
    freeze.write_saved_model(tmp_path, model, row, size, tuple("0123456789"))
    litert.convert(tmp_path, tmp_path / TFLITE)
    quantized = Convertible((tmp_path / TFLITE).read_bytes(), images, row).under(INT8)
    lite_model = LiteModel(quantized, threads=1)
    outputs = lite_model.run("image", images)
    through_image, given = np.log(outputs["probabilities"]), outputs["features"]
    np.testing.assert_allclose(given, lite_model.run("tensor", tensor)["features"], atol=0.3 * np.abs(given).max())
    through_tensor = np.log(lite_model.run("tensor", tensor)["probabilities"])
    assert np.corrcoef(through_image.ravel(), through_tensor.ravel())[0, 1] > 0.9
    wanted = np.log(model(tensor, training=False).numpy())
    assert np.corrcoef(through_image.ravel(), wanted.ravel())[0, 1] > 0.9


def choose(
    lenet5: bytes, dataset: data.Dataset, folder: Path, forms: list[schemes.Scheme], most_drop: float, **more: Any
) -> Choice:
    (file := folder / TFLITE).write_bytes(lenet5)
    by = judge.Judge(dataset, most_drop, judge.open_model(file))
    return lite.choose(file, LENET5, forms, dataset, by, stage=SILENT, **more)


@pytest.mark.parametrize("most_drop", [0.0, 0.005, 0.1])
@pytest.mark.parametrize("black", [0.0, 1.0])
def test_the_choice_is_that_of_an_exhaustive_examination(
    lenet5: bytes, digits: data.Dataset, tmp_path: Path, most_drop: float, black: float
) -> None:
    """By the same times, every form examined on every image. Calibrated on black images int8 loses a lot."""
    seen = replace(digits, train=replace(digits.train, images=digits.train.images * np.uint8(1 - black)))
    choice = choose(lenet5, seen, tmp_path, list(schemes.SCHEMES), most_drop, or_float=True)
    images = np.asarray(seen.train.images)[np.linspace(0, len(seen.train.images) - 1, 128).astype(int)]
    convertible = Convertible(lenet5, images, LENET5)
    classes = digits.held_out.classes
    wanted = judge.answers(lenet5, digits.held_out.images).argmax(-1)
    accurate = [choice.candidates[0]]
    named = {scheme.name: scheme for scheme in schemes.SCHEMES}
    assert named.keys() <= {each.name for each in choice.candidates} | choice.failed.keys()
    for each in choice.candidates[1:]:
        if each.name not in named:
            continue
        scheme = named[each.name]
        given = judge.answers(convertible.under(scheme), digits.held_out.images).argmax(-1)
        if (wanted == classes).mean() - (given == classes).mean() <= most_drop:
            accurate.append(each)
    if choice.chosen.precision == schemes.MIXED:  # which is tried where the fastest int8 forms are refused
        accurate.append(choice.chosen)
    assert choice.chosen is choose_fastest(accurate)
    assert choice.chosen.quality is not None and choice.chosen.quality.images == len(classes)
    assert (tmp_path / TFLITE).stat().st_size == choice.chosen.size
    assert [path.name for path in tmp_path.iterdir()] == [TFLITE.name], "no candidate is left behind"


def test_a_large_network_is_converted_by_another_process(
    lenet5_repository: Path, lenet5: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert, "LARGE", 0)
    litert.convert(lenet5_repository / "lenet5" / "1", tmp_path / TFLITE)
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 3), np.uint8)
    given = judge.answers(tmp_path / TFLITE, images)
    np.testing.assert_allclose(given, judge.answers(lenet5, images), atol=1e-6)
    (tmp_path / SAVED_MODEL).write_bytes(b"nothing")
    with pytest.raises(ExportError, match="cannot be converted to LiteRT: "):
        litert.convert(tmp_path, tmp_path / "none.tflite")


def test_a_form_that_answers_nan_says_where_float16_ends(tmp_path: Path, digits: data.Dataset) -> None:
    """Weights of 1e6, and sums of 921,200 of weights that fit: in `model.tflite`, and in a half precision SavedModel.

    Each names the place, and what float32 has there.
    """
    few = replace(
        digits,
        held_out=replace(digits.held_out, images=digits.held_out.images[:64], classes=digits.held_out.classes[:64]),
    )
    keras.utils.set_random_seed(0)
    image = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(image)
    x = keras.layers.Dense(16, use_bias=False, kernel_initializer=keras.initializers.Constant(1e3), name="sums")(x)
    x = keras.layers.Dense(16, use_bias=False, name="weights")(x)
    model = keras.Model(image, keras.layers.Dense(10, "softmax", name="last")(x))
    images = np.full((8, 28, 28, 3), 255, np.uint8)

    def stage(folder: Path) -> None:
        folder.mkdir()
        freeze.write_saved_model(folder, model, LENET5, 28, digits.labels)

    stage(tmp_path / "sums")
    (tmp_path / "half").mkdir()
    half.write(tmp_path / "sums", tmp_path / "half", "float16")
    why = overflow.explain_saved_model(tmp_path / "half", tmp_path / "sums", images)
    assert re.fullmatch(r"float16 overflow in \S*sums\S* \(up to 921,200 in float32; float16 ends at 65,504\)", why)
    model.get_layer("sums").set_weights([np.full((784, 16), 1e-3, np.float32)])
    model.get_layer("weights").kernel.assign_add(np.full((16, 16), 1e6, np.float32))
    stage(tmp_path / "weights")
    half.write(tmp_path / "weights", tmp_path / "half", "float16")
    overflown = r"float16 overflow in the weights \S*weights\S* \(up to 1e\+06 in float32; float16 ends at 65,504\)"
    assert re.fullmatch(overflown, overflow.explain_saved_model(tmp_path / "half", tmp_path / "weights", images))
    with pytest.raises(ExportError, match=f"float16 answers NaN: {overflown}"):
        saved_model.choose(tmp_path / "weights", few, "float16", 1.0, SILENT)
    file = tmp_path / "weights" / TFLITE
    litert.convert(tmp_path / "weights", file)
    float16 = [scheme for scheme in schemes.SCHEMES if scheme.precision == schemes.FLOAT16]
    by = judge.Judge(few, 1.0, judge.open_model(file))
    choice = lite.choose(file, LENET5, float16, few, by, or_float=True, stage=SILENT)
    assert re.fullmatch(f"refused: answers NaN: {overflown}", choice.verdict(choice.candidates[1]))


def test_ranges_come_from_the_images_it_is_calibrated_on(lenet5: bytes, digits: data.Dataset, tmp_path: Path) -> None:
    """Calibrated on nothing but black the ranges are wrong, and the loss is seen and refused: on few images already."""
    blind = replace(digits, train=replace(digits.train, images=np.zeros_like(digits.train.images)))
    alone = replace(INT8, precision=schemes.DYNAMIC)  # of int8, mixed forms are tried too
    with pytest.raises(ExportError, match=r"even the best candidate, .*, loses 0\.\d+ of float32's accuracy") as raised:
        choose(lenet5, blind, tmp_path, [alone], 0.005, or_float=False)
    images = re.search(r"accuracy on (\d+) images \(at most 0\.005\)", str(raised.value))
    assert images is not None and 0 < int(images[1]) < len(digits.held_out.classes) / 2


def test_where_all_else_loses_too_much_or_is_slower_float32_is_kept(
    lenet5: bytes, digits: data.Dataset, tmp_path: Path
) -> None:
    blind = replace(digits, train=replace(digits.train, images=np.zeros_like(digits.train.images)))
    alone = replace(INT8, precision=schemes.DYNAMIC)
    choice = choose(lenet5, blind, tmp_path, [alone], 0.005, or_float=True)
    assert choice.chosen.name == "float32"
    assert (tmp_path / TFLITE).read_bytes() == lenet5
    assert choice.verdict(choice.candidates[1]).startswith(("refused: loses", "takes "))


def test_mixed_forms_leave_ever_more_in_float(convertible: Convertible, lenet5: bytes, digits: data.Dataset) -> None:
    forms = list(mixed.forms(INT8, convertible, lenet5, digits.held_out.images[:16]))
    assert forms[0].floats == (convertible.layers[0], convertible.layers[-1])
    whole = kinds(convertible.under(INT8))
    floats = [kinds(convertible.under(form))["FLOAT32"] for form in forms]
    assert floats[0] > whole["FLOAT32"]
    assert floats[1] < floats[2] < floats[3]
    assert {form.precision for form in forms} == {"mixed"}


def test_mixed_keeps_the_part_that_rounding_hurts_most(
    convertible: Convertible, lenet5: bytes, digits: data.Dataset
) -> None:
    images = digits.held_out.images[:64]
    wanted = judge.answers(lenet5, images)

    def error(scheme: schemes.Scheme) -> float:
        return float(np.abs(judge.answers(convertible.under(scheme), images) - wanted).mean())

    worst = list(mixed.forms(INT8, convertible, lenet5, images))[1]
    others = [error(replace(INT8, floats=(name,))) for name in convertible.layers if name not in worst.floats]
    assert error(worst) < error(INT8)
    # A part is several operations, and one layer of it alone may help more than all of them.
    assert error(worst) <= np.median(others)


def test_a_part_that_cannot_be_left_in_float_by_itself_comes_last(
    lenet5: bytes, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quantizer refuses the part that would have come first."""
    images = digits.held_out.images[:16]
    convertible = Convertible(lenet5, images, LENET5)
    refused = list(mixed.forms(INT8, convertible, lenet5, images))[1].floats
    build = convertible.under

    def build_others(scheme: schemes.Scheme) -> bytes:
        if scheme.floats == refused:
            raise RuntimeError("the quantizer does not know how")
        return build(scheme)

    monkeypatch.setattr(convertible, "under", build_others)
    forms = list(mixed.forms(INT8, convertible, lenet5, images))
    assert len(forms) == 4
    assert not any(set(refused) & set(form.floats) for form in forms[1:])


def test_a_file_written_without_repetition_is_the_same_model(convertible: Convertible, digits: data.Dataset) -> None:
    from ai_edge_litert.tools import flatbuffer_utils

    model = convertible.under(INT8)
    plain = bytes(flatbuffer_utils.convert_object_to_bytearray(flatbuffer.read(model)))
    images = digits.held_out.images[:8]
    np.testing.assert_array_equal(judge.answers(model, images), judge.answers(plain, images))
    assert len(model) < len(plain)


def test_a_network_that_cannot_be_calibrated_says_so(lenet5: bytes, digits: data.Dataset, tmp_path: Path) -> None:
    model = flatbuffer.read(lenet5)
    softmax = model.subgraphs[1].operators.pop()
    model.subgraphs[1].outputs = softmax.inputs
    with pytest.raises(ExportError, match=r"cannot calibrate this network .* without --quantize"):
        choose(flatbuffer.write(model), digits, tmp_path, [INT8], 0.005, or_float=True)


def test_what_only_a_refused_scheme_would_give_is_told_with_its_reason(
    lenet5: bytes, digits: data.Dataset, tmp_path: Path
) -> None:
    unknown = replace(INT8, operations=("MIRROR_PAD", "NO_SUCH_OPERATION"))
    with pytest.raises(ExportError, match=r"refused to publish: int8: .*NO_SUCH_OPERATION"):
        choose(lenet5, digits, tmp_path, [unknown], 0.005, or_float=False)
