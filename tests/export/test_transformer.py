"""A transformer's block against the same computed by hand: orientation of weights, order of heads, what is masked."""

from dataclasses import replace
from functools import partial
from math import erf, sqrt
from pathlib import Path

import keras
import numpy as np
import pytest

from export import pipeline
from export.__main__ import parse
from export.architectures import ARCHITECTURES, vit
from export.architectures.transformer import Tower, apply_gelu, embed_patches, encode
from export.progress import Progress
from export.publish.network import NETWORK
from service.types import Array

WIDTH, HEADS, LENGTH = 12, 3, 5


def _normalize(x: Array) -> Array:
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6))


def _attend(x: Array, weights: dict[str, Array], causal: bool) -> Array:
    """Head by head and token by token (Vaswani et al., section 3.2)."""
    each = WIDTH // HEADS
    query, key, value = (x @ weights[f"{kind}/kernel"] + weights[f"{kind}/bias"] for kind in ("query", "key", "value"))
    seen = np.zeros_like(x)
    for head in range(HEADS):
        part = slice(head * each, (head + 1) * each)
        for place in range(LENGTH):
            until = place + 1 if causal else LENGTH
            scores = np.exp(key[:until, part] @ query[place, part] / sqrt(each))
            seen[place, part] = scores @ value[:until, part] / scores.sum()
    return np.asarray(seen @ weights["output/kernel"] + weights["output/bias"])


@pytest.mark.parametrize("causal", [False, True])
def test_a_block_is_the_papers(causal: bool) -> None:
    keras.utils.set_random_seed(3)
    tower = Tower(WIDTH, depth=1, heads=HEADS, activate=apply_gelu, epsilon=1e-6, causal=causal)
    entry = keras.Input((LENGTH, WIDTH))
    model = keras.Model(entry, encode(entry, tower))
    for weight in model.weights:  # biases begin as zeros and would show nothing
        if "norm" not in weight.path:
            weight.assign(np.random.default_rng(len(weight.path)).normal(0, 0.5, weight.shape))
    weights = {weight.path.replace("block0_", ""): weight.numpy() for weight in model.weights}
    x = np.random.default_rng(0).normal(0, 1, (LENGTH, WIDTH))
    expected = x + _attend(_normalize(x), weights, causal)
    wide = _normalize(expected) @ weights["widen/kernel"] + weights["widen/bias"]
    wide *= 0.5 * (1 + np.vectorize(erf)(wide / sqrt(2)))
    expected = expected + wide @ weights["narrow/kernel"] + weights["narrow/bias"]
    np.testing.assert_allclose(model(x[np.newaxis].astype(np.float32))[0], expected, rtol=1e-4, atol=1e-4)


def test_patches_are_read_row_by_row_behind_the_class_token_and_know_their_places() -> None:
    image = keras.Input((4, 6, 3))
    model = keras.Model(image, embed_patches(image, 2, 5, bias=False))
    weights = {weight.path: weight.numpy() for weight in model.weights}
    pixels = np.random.default_rng(1).normal(0, 1, (2, 4, 6, 3)).astype(np.float32)
    patches = pixels.reshape(2, 2, 2, 3, 2, 3).swapaxes(2, 3).reshape(2, 6, 12)
    expected = np.concatenate(
        [
            np.broadcast_to(weights["class_token/embeddings"], (2, 1, 5)),
            patches @ weights["patches/kernel"].reshape(12, 5),
        ],
        axis=1,
    )
    np.testing.assert_allclose(model(pixels), expected + weights["places/embeddings"], rtol=1e-4, atol=1e-5)


def test_an_untrained_vision_transformer_is_published_with_parity(tmp_path: Path) -> None:
    """As `vit_b16` is, with narrower blocks and fewer of them."""
    row = ARCHITECTURES["vit_b16"]
    tower = Tower(WIDTH, depth=2, heads=HEADS, activate=apply_gelu, epsilon=1e-6)
    arguments = ["--model", "vit_b16", "--image-size", "48", "--epochs", "0", "--force", "--repository", str(tmp_path)]
    specs = parse(arguments)
    assert specs is not None
    spec = replace(specs[0], architecture=replace(row, build=partial(vit.build, "vit", tower)))
    published = pipeline.export(spec, Progress())
    assert published.parity.worst < 1e-4
    assert {"SavedModel serving_default", "LiteRT image", "LiteRT tensor"} <= set(published.parity.probabilities)
    again = keras.models.load_model(published.folder / NETWORK)
    assert again.count_params() == published.parameters
