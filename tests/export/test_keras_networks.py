"""Exports of Keras' networks, one for each thing that only some of them have, against Keras itself."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from export import pipeline
from export.__main__ import parse, run
from export.architectures import ARCHITECTURES
from export.convert import freeze
from export.data.pixels import decode
from export.errors import ExportError
from export.pipeline import Published
from export.progress import Progress
from export.spec import ExportSpec
from service.repository.manifest import GOLDEN, SAVED_MODEL
from tests.support.exporter import export
from tests.support.images import photo

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of five pictures, cut from one photograph."""
    for index in range(10):
        file = tmp_path / "photos" / "ab"[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo()[20 * index :][:150, 30 * index :][:, :200]).save(file)
    return tmp_path / "photos"


def told_apart(network: Any, images: Any, others: Any) -> None:
    """Gives a two-class network a head that answers the first class for `images`, the second for `others`."""
    features = keras.Model(network.input, network.get_layer("avg_pool").output)
    first, second = (features(each, training=False).numpy().mean(axis=0) for each in (images, others))
    apart = (first - second) / np.square(first - second).sum()
    kernel, bias = np.stack([apart, -apart], axis=1), apart @ (first + second) / 2
    network.get_layer("predictions").set_weights([kernel, np.array([-bias, bias])])


def test_resnet50_answers_as_keras_does_from_its_own_preprocessing(photos: Path, tmp_path: Path) -> None:
    """BGR without scaling, through the command line, from a file that Keras wrote."""
    keras.utils.set_random_seed(0)
    trained = keras.applications.ResNet50(weights=None, input_shape=(48, 48, 3), classes=2)
    pictures = np.stack([decode(file.read_bytes(), 48) for file in sorted(photos.rglob("*.png"))]).astype(np.float32)
    bgr = keras.applications.resnet50.preprocess_input
    told_apart(trained, bgr(pictures.copy()), bgr(pictures[..., ::-1].copy()))
    trained.save(tmp_path / "mine.keras")
    said = export(
        *(
            "--model",
            "resnet50",
            "--weights",
            tmp_path / "mine.keras",
            "--data",
            "digits",
            "--epochs",
            0,
            "--image-size",
            48,
            "--force",
        ),
        *("--data", photos, "--repository", tmp_path / "models"),
    )
    assert "differs from the trained network by at most" in said
    with np.load(tmp_path / "models" / "resnet50" / "1" / GOLDEN) as golden:
        images, answered = golden["images"].astype(np.float32), golden["probabilities"]
    np.testing.assert_allclose(answered, trained(bgr(images.copy()), training=False), atol=1e-4)
    assert (np.abs(answered - trained(bgr(images[..., ::-1].copy()), training=False)) > 0.01).all()


@pytest.mark.parametrize(
    ("name", "operation", "count"), [("convnext_tiny", "DepthwiseConv2dNative", 18), ("resnext50_32x4d", "Conv2D", 53)]
)
def test_convolutions_in_groups_are_a_flat_graph_that_nothing_has_to_compile(
    name: str, operation: str, count: int, tmp_path: Path
) -> None:
    row = ARCHITECTURES[name]
    freeze.write_saved_model(tmp_path, row.build(row.shape(32), 2), row, 32, ("a", "b"))
    graph = saved_model_pb2.SavedModel.FromString((tmp_path / SAVED_MODEL).read_bytes()).meta_graphs[0].graph_def
    assert len([node for node in graph.node if node.op == operation]) == count
    assert not [node.name for node in graph.node if "PartitionedCall" in node.op]
    assert not [each.signature.name for each in graph.library.function if "_XlaMustCompile" in each.attr]


def test_one_of_several_that_fails_does_not_stop_the_others(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    work = pipeline.export

    def broken(spec: ExportSpec, progress: Progress) -> Published:
        if spec.name == "vgg16":
            raise ExportError("no room for it")
        if spec.name == "vgg19":
            raise RuntimeError("a fault")
        return work(spec, progress)

    monkeypatch.setattr(pipeline, "export", broken)
    given = specs("vgg16,vgg19,lenet5", "--force", "--data", str(photos), "--repository", str(tmp_path / "models"))
    with pytest.raises(ExportError, match=r"2 of 3 models failed, .*: vgg16, vgg19$") as failed:
        run(given)
    assert failed.value.exit_code == 1
    said = capfd.readouterr()
    assert "export: vgg16: no room for it" in said.err.splitlines()
    assert "export: vgg19: a fault" in said.err.splitlines()
    assert [line.split()[0] for line in said.err.splitlines() if " from " in line and "/3 " in line] == [
        "1/3",
        "2/3",
        "3/3",
    ]
    assert "RuntimeError" in said.err  # a fault keeps its traceback
    assert str(tmp_path / "models" / "lenet5" / "1") in said.out
    assert [folder.name for folder in (tmp_path / "models").iterdir()] == ["lenet5"]


def specs(models: str, *arguments: str) -> tuple[ExportSpec, ...]:
    parsed = parse(["--model", models, "--epochs", "0", *arguments])
    assert parsed is not None
    return parsed
