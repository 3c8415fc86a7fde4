"""Weights of CLIP from a file: OpenAI's and open_clip's tensors by their names, or those of an exported network.

Both publishers name tensors alike (`visual.transformer.resblocks.0.attn.in_proj_weight`). PyTorch keeps a dense layer's
weights as [outputs, inputs] and a convolution's as [outputs, inputs, height, width]; Keras has [inputs, outputs] and
[height, width, inputs, outputs]. What CLIP multiplies as a plain matrix (`proj`) is [inputs, outputs] in both.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from export.clip.network import LOGIT_BIAS, ClipNetwork
from export.data.names import escape
from export.errors import ExportError
from service.types import Array

NPZ, SAFETENSORS, KERAS = ".npz", ".safetensors", ".keras"
SUFFIXES = (SAFETENSORS, NPZ, KERAS)

# What OpenAI's files say of themselves beside their weights, and open_clip's buffer of the causal mask.
_NO_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size", "attn_mask"})
_WRAPPED = ("module.", "model.")
_MOST_NAMES = 3


def load(model: Any, network: ClipNetwork, path: Path) -> None:
    """Fills `model`, which `network` built, with every weight from `path`. Raises ExportError, naming what is wrong."""
    if path.suffix == KERAS:
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            reason = str(error).partition("\n")[0]
            raise ExportError(f"--weights {escape(path)}: not a saved {network.name}: {reason}") from error
        return
    found = convert(_unwrap(read_tensors(path)), network)
    wanted = {weight.path: weight for weight in model.weights}
    if missing := sorted(set(wanted) - set(found)):
        hint = "; --head softmax needs no bias" if missing == [f"{LOGIT_BIAS}/embeddings"] else ""
        raise ExportError(f"--weights {escape(path)}: no weights for {_list(missing)} of {network.name}{hint}")
    if extra := sorted(set(found) - set(wanted)):
        hint = "; --head sigmoid has a bias" if extra == [f"{LOGIT_BIAS}/embeddings"] else ""
        raise ExportError(f"--weights {escape(path)}: weights for {_list(extra)}, which {network.name} lacks{hint}")
    for name, weight in wanted.items():
        value = found[name]
        if value.shape != tuple(weight.shape):
            raise ExportError(
                f"--weights {escape(path)}: {name} of {network.name} has shape {list(weight.shape)}, got "
                f"{list(value.shape)}"
            )
        try:
            numbers = value.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise ExportError(f"--weights {escape(path)}: {name} holds no numbers") from error
        if not np.isfinite(numbers).all():
            raise ExportError(f"--weights {escape(path)}: {name} holds NaN or infinity")
        weight.assign(numbers)


def read_tensors(path: Path) -> Mapping[str, Array]:
    """Raises ExportError."""
    try:
        if path.suffix == SAFETENSORS:
            from safetensors.numpy import load_file

            return dict(load_file(path))
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except ImportError as error:
        raise ExportError(f"--weights {escape(path)}: {error}; pip install 'image-model-server[clip]'") from error
    except Exception as error:  # a file of anybody's, and a library with errors of its own
        reason = str(error).partition("\n")[0]
        raise ExportError(f"--weights {escape(path)} cannot be read: {reason}") from error


def convert(tensors: Mapping[str, Array], network: ClipNetwork) -> dict[str, Array]:
    """Published tensors -> weights by their paths in Keras, in Keras' orientation. Raises ExportError for a name that
    CLIP does not have.
    """
    converted: dict[str, Array] = {}
    for name, tensor in tensors.items():
        if name in _NO_WEIGHTS:
            continue
        try:
            converted |= _convert(name, np.asarray(tensor), network)
        except ValueError as error:
            raise ExportError(f"--weights: {name} of shape {list(tensor.shape)} is none of {network.name}") from error
    return converted


def _convert(name: str, tensor: Array, network: ClipNetwork) -> dict[str, Array]:
    table: Mapping[str, tuple[str, Callable[[], Array]]] = {
        "visual.class_embedding": ("image_class_token/embeddings", lambda: tensor.reshape(1, -1)),
        "visual.positional_embedding": ("image_places/embeddings", lambda: tensor),
        "visual.conv1.weight": ("image_patches/kernel", lambda: tensor.transpose(2, 3, 1, 0)),
        "visual.proj": ("image_projection/kernel", lambda: tensor),
        "token_embedding.weight": ("text_tokens/embeddings", lambda: tensor),
        "positional_embedding": ("text_places/embeddings", lambda: tensor),
        "text_projection": ("text_projection/kernel", lambda: tensor),
        "logit_scale": ("logit_scale/embeddings", lambda: tensor.reshape(1, 1)),
        "logit_bias": ("logit_bias/embeddings", lambda: tensor.reshape(1, 1)),
    }
    norms = {
        "visual.ln_pre": "image_norm_before",
        "visual.ln_post": "image_norm",
        "ln_final": "text_norm",
    }
    if name in table:
        path, turn = table[name]
        return {path: turn()}
    layer, _, kind = name.rpartition(".")
    if layer in norms and kind in _NORM:
        return {f"{norms[layer]}/{_NORM[kind]}": tensor}
    for begin, prefix in (("visual.transformer.resblocks.", "image_"), ("transformer.resblocks.", "text_")):
        number, _, rest = name.removeprefix(begin).partition(".")
        if name.startswith(begin) and number.isdigit() and (found := _convert_block(rest, tensor)):
            return {f"{prefix}block{number}_{path}": value for path, value in found.items()}
    raise ExportError(f"--weights: {name[:80]!r} is no tensor of {network.name}")


_NORM = {"weight": "gamma", "bias": "beta"}
_DENSE = {"attn.out_proj": "output", "mlp.c_fc": "widen", "mlp.c_proj": "narrow"}


def _convert_block(rest: str, tensor: Array) -> dict[str, Array]:
    """The weights of one block; none for a name that a block does not have."""
    layer, _, kind = rest.rpartition(".")
    if layer in ("ln_1", "ln_2") and kind in _NORM:
        return {f"norm{layer[-1]}/{_NORM[kind]}": tensor}
    if layer in _DENSE and kind in _NORM:
        return {f"{_DENSE[layer]}/{'kernel' if kind == 'weight' else 'bias'}": tensor.T}
    if rest in ("attn.in_proj_weight", "attn.in_proj_bias") and len(tensor) % 3 == 0:
        name = "kernel" if rest.endswith("weight") else "bias"
        return {f"{kind}/{name}": part.T for kind, part in zip(_ATTENTION, np.split(tensor, 3), strict=True)}
    return {}


_ATTENTION = ("query", "key", "value")


def _unwrap(tensors: Mapping[str, Array]) -> Mapping[str, Array]:
    """Without what a training program puts in front of every name."""
    for wrapping in _WRAPPED:
        if tensors and all(name.startswith(wrapping) for name in tensors):
            return {name.removeprefix(wrapping): tensor for name, tensor in tensors.items()}
    return tensors


def _list(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
