"""A CLIP small enough for every test run, tensors as OpenAI publishes them, and what they answer, by NumPy alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.clip.network import NETWORKS, ClipNetwork
from service.types import Array

_ROW = NETWORKS["clip_vit_b32"]
TINY: ClipNetwork = replace(
    _ROW,
    name="clip_tiny",
    size=32,
    patch=16,
    image=replace(_ROW.image, width=12, depth=2, heads=3),
    text=replace(_ROW.text, width=8, depth=2, heads=2),
    embedding=6,
)

Tensors = dict[str, Array]


def make_tensors(network: ClipNetwork, seed: int = 0) -> Tensors:
    """Random numbers under OpenAI's names, in PyTorch's orientation."""
    generator = np.random.default_rng(seed)
    image, text, patches = network.image, network.text, (network.size // network.patch) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (image.width,),
        "visual.positional_embedding": (patches + 1, image.width),
        "visual.conv1.weight": (image.width, 3, network.patch, network.patch),
        "visual.proj": (image.width, network.embedding),
        "token_embedding.weight": (network.vocabulary, text.width),
        "positional_embedding": (network.context, text.width),
        "text_projection": (text.width, network.embedding),
        "logit_scale": (),
    }
    norms = [("visual.ln_pre", image.width), ("visual.ln_post", image.width), ("ln_final", text.width)]
    for begin, tower in (("visual.transformer", image), ("transformer", text)):
        for block in range(tower.depth):
            name, width, wide = f"{begin}.resblocks.{block}", tower.width, tower.width * tower.expansion
            norms += [(f"{name}.ln_1", width), (f"{name}.ln_2", width)]
            shapes |= {
                f"{name}.attn.in_proj_weight": (3 * width, width),
                f"{name}.attn.in_proj_bias": (3 * width,),
                f"{name}.attn.out_proj.weight": (width, width),
                f"{name}.attn.out_proj.bias": (width,),
                f"{name}.mlp.c_fc.weight": (wide, width),
                f"{name}.mlp.c_fc.bias": (wide,),
                f"{name}.mlp.c_proj.weight": (width, wide),
                f"{name}.mlp.c_proj.bias": (width,),
            }
    shapes |= {f"{name}.{kind}": (width,) for name, width in norms for kind in ("weight", "bias")}
    return {name: generator.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def save(file: Path, tensors: Mapping[str, Any]) -> None:
    """As a file that NumPy reads."""
    np.savez(file, **tensors)


def embed_image(tensors: Tensors, network: ClipNetwork, image: Array) -> Array:
    """float32 [size, size, 3], scaled -> [embedding], as OpenAI's `VisionTransformer.forward` computes it."""
    count, patch = network.size // network.patch, network.patch
    patches = image.reshape(count, patch, count, patch, 3).transpose(0, 2, 4, 1, 3).reshape(count * count, -1)
    kernel = tensors["visual.conv1.weight"].reshape(network.image.width, -1)
    x = np.vstack([tensors["visual.class_embedding"], patches @ kernel.T])
    x = _norm(x + tensors["visual.positional_embedding"], tensors, "visual.ln_pre")
    x = _encode(x, tensors, "visual.transformer", network.image.heads, causal=False)
    return np.asarray(_norm(x[0], tensors, "visual.ln_post") @ tensors["visual.proj"])


def embed_text(tensors: Tensors, network: ClipNetwork, tokens: Array) -> Array:
    """int [context] -> [embedding], as OpenAI's `CLIP.encode_text` computes it."""
    x = tensors["token_embedding.weight"][tokens] + tensors["positional_embedding"]
    x = _encode(x, tensors, "transformer", network.text.heads, causal=True)
    return np.asarray(_norm(x, tensors, "ln_final")[tokens.argmax()] @ tensors["text_projection"])


def _encode(x: Array, tensors: Tensors, begin: str, heads: int, causal: bool) -> Array:
    block = 0
    while (name := f"{begin}.resblocks.{block}") + ".ln_1.weight" in tensors:
        x = x + _attend(_norm(x, tensors, f"{name}.ln_1"), tensors, f"{name}.attn", heads, causal)
        wide = _dense(_norm(x, tensors, f"{name}.ln_2"), tensors, f"{name}.mlp.c_fc")
        x = x + _dense(wide / (1 + np.exp(-1.702 * wide)), tensors, f"{name}.mlp.c_proj")
        block += 1
    return x


def _attend(x: Array, tensors: Tensors, name: str, heads: int, causal: bool) -> Array:
    query, key, value = np.split(x @ tensors[f"{name}.in_proj_weight"].T + tensors[f"{name}.in_proj_bias"], 3, axis=-1)
    seen = []
    for q, k, v in zip(*(np.split(each, heads, axis=-1) for each in (query, key, value)), strict=True):
        scores = q @ k.T / np.sqrt(q.shape[-1])
        if causal:
            scores[np.triu_indices(len(scores), 1)] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        seen.append(shares @ v / shares.sum(-1, keepdims=True))
    return _dense(np.concatenate(seen, axis=-1), tensors, f"{name}.out_proj")


def _dense(x: Array, tensors: Tensors, name: str) -> Array:
    return np.asarray(x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"])


def _norm(x: Array, tensors: Tensors, name: str) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return np.asarray(normal * tensors[f"{name}.weight"] + tensors[f"{name}.bias"])
