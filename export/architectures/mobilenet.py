"""MobileNet, three versions, from Keras' own builders."""

from functools import partial

from export.architectures.applications import SMALL, TF, network, rounded

_mobilenet = partial(network, scaling=TF, recipe=SMALL)
_v3 = partial(
    _mobilenet,
    family="MobileNet V3",
    alphas=(0.75, 1.0),
    year=2019,
    bare=True,
    source="arXiv:1905.02244, Howard et al.: Searching for MobileNetV3",
)

ROWS = (
    _mobilenet(
        "mobilenet",
        "MobileNet",
        4_253_864,
        licence="Apache-2.0",
        alphas=(0.25, 0.5, 0.75, 1.0),
        top1=0.704,
        top5=0.895,
        family="MobileNet V1",
        year=2017,
        source="arXiv:1704.04861, Howard et al.: MobileNets: Efficient Convolutional Neural Networks for Mobile "
        "Vision Applications",
    ),
    _mobilenet(
        "mobilenet_v2",
        "MobileNetV2",
        3_538_984,
        licence="Apache-2.0",
        alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
        top1=0.713,
        top5=0.901,
        family="MobileNet V2",
        year=2018,
        source="arXiv:1801.04381, Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    ),
    _v3("mobilenet_v3_small", "MobileNetV3Small", 2_554_968, top1=0.681, count="as Keras builds it"),
    _v3("mobilenet_v3_large", "MobileNetV3Large", 5_507_432, top1=0.756, count=rounded("5.5M")),
)
