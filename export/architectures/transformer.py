"""Blocks of transformers, over patches of an image or tokens of a text (Vaswani et al., 2017, arXiv:1706.03762).

Everything is a layer or an operation of Keras, under a name of its own: a saved network needs no code of ours to be
read, and attention becomes plain dense layers and matrix products in LiteRT.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Activation = Callable[[Any], Any]

_SPREAD = 0.02
"""Standard deviation of untrained embeddings, as in ViT and CLIP."""


@dataclass(frozen=True, slots=True)
class Tower:
    """A stack of `depth` blocks of `width` channels and `heads` heads; its perceptrons widen `expansion` times.

    `activate` is theirs, `epsilon` that of the layer norms. A `causal` tower lets a token see those before it only.
    """

    width: int
    depth: int
    heads: int
    activate: Activation
    epsilon: float
    expansion: int = 4
    causal: bool = False


def apply_gelu(x: Any) -> Any:
    """x times the normal distribution's share below x, exact."""
    from keras import ops

    return ops.gelu(x, approximate=False)


def apply_quick_gelu(x: Any) -> Any:
    """x * sigmoid(1.702 x), which OpenAI trained CLIP with."""
    from keras import ops

    return x * ops.sigmoid(1.702 * x)


def embed_patches(image: Any, size: int, width: int, *, bias: bool, prefix: str = "") -> Any:
    """Patches of `size` x `size` pixels as tokens, float32 [N, patches + 1, width], a learnt class token ahead of them,
    each with its place added (Dosovitskiy et al., 2020, arXiv:2010.11929, equation 1).
    """
    from keras import layers, ops

    x = layers.Conv2D(width, size, size, use_bias=bias, name=f"{prefix}patches")(image)
    x = layers.Reshape((x.shape[1] * x.shape[2], width), name=f"{prefix}tokens")(x)
    first = ops.zeros_like(x[:, :1, 0], dtype="int32")
    x = ops.concatenate([_embed(first, 1, width, f"{prefix}class_token"), x], axis=1)
    return add_places(x, prefix)


def embed_tokens(tokens: Any, vocabulary: int, width: int, *, prefix: str = "") -> Any:
    """Rows of a learnt table for `tokens`, int32 [N, T], each with its place added; float32 [N, T, width]."""
    return add_places(_embed(tokens, vocabulary, width, f"{prefix}tokens"), prefix)


def add_places(x: Any, prefix: str = "") -> Any:
    """Adds a learnt vector to each place of `x`, float32 [N, T, width]."""
    from keras import ops

    # Counted in the graph: a constant would be no part of a Keras network, and its table no weight of it.
    places = ops.cumsum(ops.ones_like(x[:, :, 0], dtype="int32"), axis=1) - 1
    return x + _embed(places, x.shape[1], x.shape[2], f"{prefix}places")


def encode(x: Any, tower: Tower, prefix: str = "") -> Any:
    """`x`, float32 [N, T, width], through every block of `tower`; norms come ahead of what they serve."""
    from keras import layers

    for number in range(tower.depth):
        name = f"{prefix}block{number}"
        x = x + attend(normalize(x, tower, f"{name}_norm1"), tower, name)
        y = layers.Dense(tower.expansion * tower.width, name=f"{name}_widen")(normalize(x, tower, f"{name}_norm2"))
        x = x + layers.Dense(tower.width, name=f"{name}_narrow")(tower.activate(y))
    return x


def attend(x: Any, tower: Tower, name: str) -> Any:
    """Multi-head attention of `x`, float32 [N, T, width], to itself."""
    import numpy as np
    from keras import layers, ops

    length, each = x.shape[1], tower.width // tower.heads

    def split(kind: str) -> Any:
        y = layers.Dense(tower.width, name=f"{name}_{kind}")(x)
        return layers.Permute((2, 1, 3))(layers.Reshape((length, tower.heads, each))(y))

    query, key, value = split("query"), split("key"), split("value")
    scores = ops.matmul(query * each**-0.5, ops.swapaxes(key, -1, -2))
    if tower.causal:
        scores = scores + np.triu(np.full((length, length), -1e9, np.float32), k=1)
    seen = layers.Permute((2, 1, 3))(ops.matmul(ops.softmax(scores), value))
    return layers.Dense(tower.width, name=f"{name}_output")(layers.Reshape((length, tower.width))(seen))


def normalize(x: Any, tower: Tower, name: str) -> Any:
    from keras import layers

    return layers.LayerNormalization(epsilon=tower.epsilon, name=name)(x)


def _embed(indices: Any, count: int, width: int, name: str) -> Any:
    from keras import initializers, layers

    return layers.Embedding(count, width, initializers.RandomNormal(stddev=_SPREAD), name=name)(indices)
