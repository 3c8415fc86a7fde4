"""What a photograph squeezed into a network's square costs in right answers, over its central square alone.

`python -m benchmarks.crops` prints one row a network; EfficientNet-Lite's authors crop.
"""

import io
import sys
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from export.architectures import ARCHITECTURES
from export.data import pixels
from export.data.imagenet import read_class_names
from export.training import weights

NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
PHOTOGRAPHS = (
    ("skimage.data", "chelsea.png", ("tiger cat", "Egyptian cat", "tabby")),
    ("skimage.data", "coffee.png", ("espresso",)),
    ("skimage.data", "motorcycle_left.png", ("moped",)),
    ("sklearn.datasets.images", "china.jpg", ("palace",)),
    ("sklearn.datasets.images", "flower.jpg", ("daisy",)),
)
"""Package, file and the names that are right."""


def main() -> int:
    names = read_class_names()
    print(f"{'':20} {'way':9} right  answers")
    for name in NETWORKS:
        row = ARCHITECTURES[name]
        model = weights.start(row, row.input_size, row.classes, weights.IMAGENET).model
        for way, prepare in WAYS.items():
            images = np.stack([prepare(_read(package, file), row.input_size) for package, file, _ in PHOTOGRAPHS])
            answers = model(pixels.to_tensor(images, row), training=False).numpy()
            told = [names[index] for index in answers.argmax(-1)]
            right = sum(answer in wanted for answer, (_, _, wanted) in zip(told, PHOTOGRAPHS, strict=True))
            sure = ", ".join(f"{answer} {most:.2f}" for answer, most in zip(told, answers.max(-1), strict=True))
            print(f"{name:20} {way:9} {right}/{len(told)}    {sure}", flush=True)
    return 0


def _read(package: str, file: str) -> bytes:
    return (resources.files(package) / file).read_bytes()


def _squeeze(data: bytes, size: int) -> Any:
    """As the service and the exported graph do."""
    return pixels.decode(data, size).numpy()


def _crop(data: bytes, size: int) -> Any:
    """The central square, bilinearly resized with antialiasing: size/(size+32) of the shorter side."""
    import tensorflow as tf

    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    height, width = image.shape[:2]
    side = int(size / (size + 32) * min(height, width))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    square = tf.image.resize(image[top : top + side, left : left + side], (size, size), antialias=True)
    return tf.saturate_cast(tf.round(square), tf.uint8).numpy()


def _crop_bicubic(data: bytes, size: int) -> Any:
    """The same, bicubically: as the weights' authors do."""
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    side = int(size / (size + 32) * min(image.size))
    left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))


WAYS: dict[str, Callable[[bytes, int], Any]] = {"squeezed": _squeeze, "cropped": _crop, "bicubic": _crop_bicubic}


if __name__ == "__main__":
    sys.exit(main())
