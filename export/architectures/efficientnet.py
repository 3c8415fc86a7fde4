"""EfficientNet, from Keras' own builders."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

from export.architectures.applications import RAW, network
from export.training.configuration import Layer

_DEVIATION = (0.229, 0.224, 0.225)


def _absorbs(layer: Layer) -> bool:
    """Whether this is the layer that Keras builds only where it loads ImageNet's weights, behind the normalisation."""
    scale = layer.settings.get("scale")
    wanted = [each**-0.5 for each in _DEVIATION]
    return (
        layer.kind == "Rescaling"
        and isinstance(scale, list)
        and all(math.isclose(one, other, rel_tol=1e-6) for one, other in zip(scale, wanted, strict=True))
    )


def _settle(model: Any, absorbed: bool) -> None:
    """Makes the normalisation inside the graph mean what the weights now in it were trained with.

    Keras divides by the root of the layer's variance, which ImageNet's weights set to the standard
    deviation; a graph built to load them divides by that root once more (`_absorbs`), and ours, built
    without weights, does not. So the variance becomes what both steps amount to.
    """
    import keras
    import numpy as np

    norm = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance, count = norm.get_weights()
    if absorbed:
        norm.set_weights([mean, variance * np.array(_DEVIATION, np.float32), count])
    norm.finalize_state()  # it computes with copies, which setting weights leaves behind


# The builders have no switch for their Rescaling and Normalization, so that the graph takes 0 to 255.
_efficientnet = partial(
    network,
    family="EfficientNet",
    year=2019,
    scaling=RAW,
    source="arXiv:1905.11946, Tan and Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
)

ROWS = tuple(
    replace(row, settle=_settle, absorbs=_absorbs)
    for row in (
        _efficientnet("efficientnet_b0", "EfficientNetB0", 5_330_571, top1=0.771, top5=0.933, input_size=224),
        _efficientnet("efficientnet_b1", "EfficientNetB1", 7_856_239, top1=0.791, top5=0.944, input_size=240),
        _efficientnet("efficientnet_b2", "EfficientNetB2", 9_177_569, top1=0.801, top5=0.949, input_size=260),
        _efficientnet("efficientnet_b3", "EfficientNetB3", 12_320_535, top1=0.816, top5=0.957, input_size=300),
        _efficientnet("efficientnet_b4", "EfficientNetB4", 19_466_823, top1=0.829, top5=0.964, input_size=380),
        _efficientnet("efficientnet_b5", "EfficientNetB5", 30_562_527, top1=0.836, top5=0.967, input_size=456),
        _efficientnet("efficientnet_b6", "EfficientNetB6", 43_265_143, top1=0.840, top5=0.968, input_size=528),
        _efficientnet("efficientnet_b7", "EfficientNetB7", 66_658_687, top1=0.843, top5=0.970, input_size=600),
    )
)
