"""Bytes into the graph, or decoded beside the gateway: the same answers, on images of every make."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.data import dataset as data
from export.data import sources
from export.progress import Stage
from service.preprocessing import decode as images
from service.repository.manifest import Manifest
from tests.support.images import photo

pytestmark = pytest.mark.slow

MODEL = "mobilenet_v3_small"
WANTED = 240


def variants(pictures: list[Image.Image]) -> Iterator[bytes]:
    """Real images made anew: sizes, shapes, formats, qualities, subsampling, progressive, CMYK, gray."""
    chance = np.random.default_rng(0)
    makes: list[tuple[str, str, dict[str, Any]]] = [
        ("RGB", "JPEG", {"quality": 95, "subsampling": 0}),
        ("RGB", "JPEG", {"quality": 75, "subsampling": 1}),
        ("RGB", "JPEG", {"quality": 50, "subsampling": 2}),
        ("RGB", "JPEG", {"quality": 85, "progressive": True}),
        ("RGB", "JPEG", {"quality": 85, "optimize": True}),
        ("CMYK", "JPEG", {"quality": 90}),
        ("L", "JPEG", {"quality": 80}),
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("L", "PNG", {}),
        ("RGB", "BMP", {}),
    ]
    for turn in range(WANTED):
        picture = pictures[turn % len(pictures)]
        longest = int(np.exp(chance.uniform(np.log(24), np.log(2400))))
        shape = (longest, max(8, int(longest * chance.uniform(0.7, 1.0))))
        mode, kind, options = makes[turn % len(makes)]
        buffer = io.BytesIO()
        picture.resize(shape, Image.Resampling.BICUBIC).convert(mode).save(buffer, kind, **options)
        yield buffer.getvalue()


def test_bytes_in_the_graph_and_pixels_from_the_gateway_agree(demo_repository: Path) -> None:
    version = demo_repository / MODEL / "1"
    manifest = Manifest.read(version, MODEL, 1)
    assert manifest is not None and manifest.preprocessing is not None
    height, width = manifest.preprocessing.height, manifest.preprocessing.width
    held_out = data.load(sources.digits(), height, Stage("test", lambda text: None)).held_out.images
    whole = Image.fromarray(photo())
    corners = [whole.crop((x, y, x + 320, y + 213)) for x in (0, 320) for y in (0, 213)]
    pictures = [Image.fromarray(np.asarray(image)) for image in held_out[:55]] + [whole, *corners]
    signatures = tf.saved_model.load(str(version)).signatures
    differences, agreed = [], []
    for file in variants(pictures):
        inside = signatures["serving_default"](image_bytes=tf.constant([file]))["probabilities"].numpy()[0]
        pixels = images.decode(file, height, width)[np.newaxis]
        beside = signatures["image"](image=tf.constant(pixels))["probabilities"].numpy()[0]
        differences.append(float(np.abs(inside - beside).mean()))
        agreed.append(inside.argmax() == beside.argmax())
    assert len(agreed) >= 200
    assert np.mean(agreed) >= 0.99, f"{np.mean(agreed):.3f} agree on the label"
    assert np.mean(differences) <= 0.01, f"mean difference {np.mean(differences):.4f}"
