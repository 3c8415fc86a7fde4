"""NASNet, from Keras' own builders."""

from functools import partial

from export.architectures.applications import LARGE, SMALL, TF, network

_nasnet = partial(
    network,
    licence="Apache-2.0",
    family="NASNet",
    year=2018,
    scaling=TF,
    source="arXiv:1707.07012, Zoph et al.: Learning Transferable Architectures for Scalable Image Recognition",
)

ROWS = (
    _nasnet("nasnet_mobile", "NASNetMobile", 5_326_716, top1=0.744, top5=0.919, recipe=SMALL),
    _nasnet("nasnet_large", "NASNetLarge", 88_949_818, top1=0.825, top5=0.960, recipe=LARGE, input_size=331),
)
