"""What lies in an exported version, read as anybody would: TensorFlow, LiteRT, a record reader, plain files."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from export.data import dataset as data
from export.data import sources
from export.progress import Stage
from export.publish.network import NETWORK
from export.report.options import NUMBERS, PAGE
from service.preprocessing import decode as gateway
from service.repository import checksums as contents
from service.repository.checksums import FILES
from service.repository.image_index import IMAGE_INDEX
from service.repository.manifest import GOLDEN, LABELS, SAMPLES, SAVED_MODEL, TFLITE, WARMUP, Manifest, TensorSpec
from tests.support.exporter import DEMO
from tests.support.images import encode, photo

SIZES = {
    "lenet5": 28,
    "mobilenet_v3_small": int(DEMO["mobilenet_v3_small"][DEMO["mobilenet_v3_small"].index("--image-size") + 1]),
}
ACCURACIES = {"lenet5": 0.9, "mobilenet_v3_small": 0.85}


@pytest.fixture(scope="module", params=list(SIZES))
def version(request: pytest.FixtureRequest, demo_repository: Path) -> Path:
    return demo_repository / str(request.param) / "1"


@pytest.fixture(scope="module")
def signatures(version: Path) -> Any:
    loaded = tf.saved_model.load(str(version))
    yield loaded.signatures


@pytest.fixture(scope="module")
def lite(version: Path) -> Any:
    return Interpreter(str(version / TFLITE))


@pytest.fixture(scope="module")
def held_out(version: Path) -> data.Split:
    return data.load(sources.digits(), SIZES[name(version)], Stage("test", lambda text: None)).held_out


def name(version: Path) -> str:
    return version.parent.name


def test_layout(version: Path) -> None:
    files = {str(path.relative_to(version)) for path in version.rglob("*") if path.is_file()}
    samples = {f"{SAMPLES}/{label}-0.png" for label in range(10)}
    manifest = "assets.extra/manifest.json"
    made = {str(SAVED_MODEL), str(TFLITE), str(LABELS), str(GOLDEN), str(WARMUP), manifest} | samples
    made |= {str(PAGE), str(NUMBERS), str(NETWORK), str(IMAGE_INDEX)}
    assert files == made | {FILES}
    assert contents.load((version / FILES).read_bytes()).keys() == made
    assert (version / "variables").is_dir()
    assert [folder.name for folder in version.parent.iterdir()] == ["1"]


def test_manifest_says_what_it_is(version: Path) -> None:
    manifest = Manifest.read(version, name(version), 1)
    assert manifest is not None
    size = SIZES[name(version)]
    assert manifest.checked
    assert manifest.labels == tuple("0123456789")
    assert (manifest.architecture, manifest.precision) == (name(version), "float32")
    assert manifest.preprocessing is not None
    assert (manifest.preprocessing.height, manifest.preprocessing.width) == (size, size)
    assert set(manifest.signatures) == {"serving_default", "image", "tensor", "features", "image_features"}
    assert manifest.known_threshold is not None and 0 < manifest.known_threshold <= 1
    assert manifest.signatures["image"].inputs == {"image": TensorSpec("uint8", (None, size, size, 3))}
    facts = manifest.facts
    assert facts["dataset"] == {"name": "digits", "classes": 10, "train": 1294, "validation": 144, "held_out": 359}
    assert facts["worst_class"]["accuracy"] == min(facts["accuracy_by_class"].values())
    assert max(facts["parity"]["probabilities"].values()) <= 1e-4
    assert facts["file_bytes"][str(TFLITE)] == (version / TFLITE).stat().st_size
    assert facts["parameters"] > 0
    assert facts["created"].endswith("+00:00")


def test_graph_is_frozen_flat_and_declared_as_in_the_manifest(version: Path) -> None:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((version / SAVED_MODEL).read_bytes())
    (graph,) = saved.meta_graphs
    operations = {node.op for node in graph.graph_def.node}
    for function in graph.graph_def.library.function:
        operations |= {node.op for node in function.node_def}
    assert not {operation for operation in operations if "Variable" in operation or "PartitionedCall" in operation}
    assert list((version / "variables").iterdir()) == []

    manifest = Manifest.read(version, name(version), 1)
    assert manifest is not None
    for key, declared in manifest.signatures.items():
        definition = graph.signature_def[key]
        assert definition.method_name == declared.method
        for infos, specs in ((definition.inputs, declared.inputs), (definition.outputs, declared.outputs)):
            assert {alias: spec_of(info) for alias, info in infos.items()} == dict(specs)


def spec_of(info: Any) -> TensorSpec:
    sizes = tuple(None if dim.size == -1 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(tf.dtypes.as_dtype(info.dtype).name, sizes)


def test_bytes_of_any_size_and_kind_share_a_batch(version: Path, signatures: Any) -> None:
    picture = photo()
    gray = encode(picture[..., 0])
    clear = io.BytesIO()
    Image.fromarray(picture).convert("RGBA").save(clear, "PNG")
    sample = (version / SAMPLES / "7-0.png").read_bytes()
    rows = [
        encode(picture, "JPEG"),
        encode(picture[:50, :400]),
        sample,
        gray,
        clear.getvalue(),
        encode(picture[:1, :1]),
    ]
    together = signatures["serving_default"](image_bytes=tf.constant(rows))
    assert together["probabilities"].shape == (6, 10)
    assert [label.decode() for label in together["classes"].numpy()[3]] == list("0123456789")
    for row, probabilities in zip(rows, together["probabilities"].numpy(), strict=True):
        alone = signatures["serving_default"](image_bytes=tf.constant([row]))["probabilities"].numpy()[0]
        np.testing.assert_allclose(probabilities, alone, atol=1e-5)
    assert together["classes"].numpy()[2][together["probabilities"].numpy()[2].argmax()] == b"7"


def test_a_session_runs_it_as_tensorflow_serving_does(version: Path, signatures: Any) -> None:
    file = (version / SAMPLES / "3-0.png").read_bytes()
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZES[name(version)], SIZES[name(version)], 3), np.uint8)
    calls: dict[str, tuple[str, Any]] = {"serving_default": ("image_bytes", [file]), "image": ("image", pixels)}
    answers = {}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        definitions = tf.compat.v1.saved_model.load(session, ["serve"], str(version)).signature_def
        for key, (alias, rows) in calls.items():
            fed = {definitions[key].inputs[alias].name: rows}
            answers[key] = session.run(definitions[key].outputs["probabilities"].name, fed)
    for key, (alias, rows) in calls.items():
        wanted = signatures[key](**{alias: tf.constant(rows)})["probabilities"]
        np.testing.assert_allclose(answers[key], wanted, atol=1e-6)


def test_every_signature_and_engine_agree(version: Path, signatures: Any, lite: Any) -> None:
    size = SIZES[name(version)]
    file = encode(photo(), "JPEG")
    pixels = gateway.decode(file, size, size)[np.newaxis].repeat(3, axis=0)
    wanted = signatures["image"](image=tf.constant(pixels))["probabilities"].numpy()
    np.testing.assert_allclose(lite.get_signature_runner("image")(image=pixels)["probabilities"], wanted, atol=1e-4)

    channels = lite.get_signature_runner("tensor").get_input_details()["tensor"]["shape"][-1]
    tensor = np.random.default_rng(0).uniform(-1, 1, (5, size, size, channels)).astype(np.float32)
    wanted = signatures["tensor"](tensor=tf.constant(tensor))["probabilities"].numpy()
    np.testing.assert_allclose(lite.get_signature_runner("tensor")(tensor=tensor)["probabilities"], wanted, atol=1e-4)


def test_accuracy_is_what_the_manifest_claims(version: Path, held_out: data.Split, signatures: Any, lite: Any) -> None:
    manifest = Manifest.read(version, name(version), 1)
    assert manifest is not None
    images = np.array(held_out.images)
    answers: list[NDArray[np.float32]] = [
        signatures["image"](image=tf.constant(images))["probabilities"].numpy(),
        lite.get_signature_runner("image")(image=images)["probabilities"],
    ]
    for probabilities in answers:
        accuracy = float((probabilities.argmax(-1) == held_out.classes).mean())
        assert accuracy == pytest.approx(manifest.facts["accuracy"], abs=1e-5)
        assert accuracy >= ACCURACIES[name(version)]


def test_samples_are_recognised_from_their_files(version: Path, signatures: Any) -> None:
    files = sorted((version / SAMPLES).iterdir())
    answer = signatures["serving_default"](image_bytes=tf.constant([file.read_bytes() for file in files]))
    guesses = answer["probabilities"].numpy().argmax(-1)
    right = sum(str(guess) == file.name.partition("-")[0] for guess, file in zip(guesses, files, strict=True))
    assert right >= 9


def test_golden_answers_reproduce(version: Path, held_out: data.Split, signatures: Any, lite: Any) -> None:
    with np.load(version / GOLDEN) as golden:
        images, wanted = golden["images"], golden["probabilities"]
    assert images.shape == (16, SIZES[name(version)], SIZES[name(version)], 3)
    assert (images.dtype, wanted.dtype, wanted.shape) == (np.uint8, np.float32, (16, 10))
    np.testing.assert_array_equal(images, held_out.images[:16])
    np.testing.assert_allclose(signatures["image"](image=tf.constant(images))["probabilities"], wanted, atol=1e-5)
    np.testing.assert_allclose(lite.get_signature_runner("image")(image=images)["probabilities"], wanted, atol=1e-4)


def test_warm_up_records_replay(version: Path, signatures: Any) -> None:
    replayed = []
    for record in tf.data.TFRecordDataset(str(version / WARMUP)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == name(version)
        inputs = {alias: tf.constant(tf.make_ndarray(tensor)) for alias, tensor in request.inputs.items()}
        (rows,) = {tensor.shape[0] for tensor in inputs.values()}
        answer = signatures[request.model_spec.signature_name](**inputs)
        assert answer["probabilities"].shape == (rows, 10)
        replayed.append((request.model_spec.signature_name, rows))
    assert sorted(replayed) == [(key, rows) for key in ("image", "serving_default", "tensor") for rows in (1, 8)]


def test_litert_needs_no_tensorflow(version: Path) -> None:
    script = (
        "import sys, numpy; from ai_edge_litert.interpreter import Interpreter\n"
        "runner = Interpreter(sys.argv[1]).get_signature_runner('image')\n"
        "shape = runner.get_input_details()['image']['shape_signature']\n"
        "rows = runner(image=numpy.zeros((4, *shape[1:]), numpy.uint8))['probabilities']\n"
        "assert rows.shape == (4, 10) and abs(rows.sum(-1) - 1).max() < 1e-5\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(version / TFLITE)], check=True, capture_output=True)
