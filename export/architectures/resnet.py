"""ResNet, first and second version, from Keras' own builders."""

from functools import partial

from export.architectures.applications import CAFFE, TF, network

_v1 = partial(
    network,
    licence="MIT",
    family="ResNet",
    year=2015,
    scaling=CAFFE,
    source="arXiv:1512.03385, He et al.: Deep Residual Learning for Image Recognition",
)
_v2 = partial(
    network,
    licence="BSD-3-Clause",
    family="ResNet V2",
    year=2016,
    scaling=TF,
    source="arXiv:1603.05027, He et al.: Identity Mappings in Deep Residual Networks",
)

ROWS = (
    _v1("resnet50", "ResNet50", 25_636_712, top1=0.749, top5=0.921),
    _v1("resnet101", "ResNet101", 44_707_176, top1=0.764, top5=0.928),
    _v1("resnet152", "ResNet152", 60_419_944, top1=0.766, top5=0.931),
    _v2("resnet50_v2", "ResNet50V2", 25_613_800, top1=0.760, top5=0.930),
    _v2("resnet101_v2", "ResNet101V2", 44_675_560, top1=0.772, top5=0.938),
    _v2("resnet152_v2", "ResNet152V2", 60_380_648, top1=0.780, top5=0.942),
)
