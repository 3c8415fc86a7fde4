"""EfficientNet V2, from Keras' own builders."""

from functools import partial

from export.architectures.applications import TORCH, network, rounded
from export.architectures.architecture import Scaling

_v2 = partial(
    network,
    family="EfficientNet V2",
    year=2021,
    bare=True,
    source="arXiv:2104.00298, Tan and Le: EfficientNetV2: Smaller Models and Faster Training",
)
_b = partial(_v2, scaling=TORCH)
_sml = partial(_v2, scaling=Scaling(scale=(1 / 128,), offset=(-1.0,)))

ROWS = (
    _b(
        "efficientnet_v2_b0",
        "EfficientNetV2B0",
        7_200_312,
        top1=0.787,
        top5=0.943,
        count=rounded("7.2M"),
        input_size=224,
    ),
    _b(
        "efficientnet_v2_b1",
        "EfficientNetV2B1",
        8_212_124,
        top1=0.798,
        top5=0.950,
        count=rounded("8.2M"),
        input_size=240,
    ),
    _b(
        "efficientnet_v2_b2",
        "EfficientNetV2B2",
        10_178_374,
        top1=0.805,
        top5=0.951,
        count=rounded("10.2M"),
        input_size=260,
    ),
    _b(
        "efficientnet_v2_b3",
        "EfficientNetV2B3",
        14_467_622,
        top1=0.820,
        top5=0.958,
        count=rounded("14.5M"),
        input_size=300,
    ),
    _sml(
        "efficientnet_v2_s",
        "EfficientNetV2S",
        21_612_360,
        top1=0.839,
        top5=0.967,
        count=rounded("21.6M"),
        input_size=384,
    ),
    _sml(
        "efficientnet_v2_m",
        "EfficientNetV2M",
        54_431_388,
        top1=0.853,
        top5=0.974,
        count=rounded("54.4M"),
        input_size=480,
    ),
    _sml(
        "efficientnet_v2_l",
        "EfficientNetV2L",
        119_027_848,
        top1=0.857,
        top5=0.975,
        count=rounded("119.0M"),
        input_size=480,
    ),
)
