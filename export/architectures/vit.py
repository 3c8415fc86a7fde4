"""Vision transformers (Dosovitskiy et al., 2020)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from export.architectures.applications import GENTLE, TF
from export.architectures.architecture import Architecture, Shape
from export.architectures.blocks import close_network, open_input, own_network
from export.architectures.transformer import Tower, apply_gelu, embed_patches, encode, normalize

_PATCH = 16
_BASE = Tower(width=768, depth=12, heads=12, activate=apply_gelu, epsilon=1e-6)


def build(name: str, tower: Tower, shape: Shape, classes: int) -> Any:
    """Raises ValueError where the image holds no patch. What is left over at its edges is not seen."""
    from keras import layers

    image = open_input(shape, _PATCH)
    x = embed_patches(image, _PATCH, tower.width, bias=True)
    x = normalize(encode(x, tower), tower, "norm")
    # Flattened, as heads begin everywhere here: by that they are found when a network is trained further.
    return close_network(image, layers.Flatten(name="class_token_flat")(x[:, :1]), classes, name)


def _network(name: str, tower: Tower, parameters: int, accuracy: tuple[float, float, str]) -> Architecture:
    builder: Callable[[Shape, int], Any] = partial(build, name, tower)
    return own_network(
        name,
        builder,
        parameters,
        family="ViT",
        year=2020,
        source="arXiv:2010.11929, Dosovitskiy et al.: An Image is Worth 16x16 Words",
        count="torchvision",
        smallest_size=_PATCH,
        scaling=TF,
        recipe=GENTLE,
        accuracy=accuracy,
    )


ROWS = (_network("vit_b16", _BASE, 86_567_656, (0.81072, 0.95318, "torchvision")),)
