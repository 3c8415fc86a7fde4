"""DenseNet, from Keras' own builders."""

from functools import partial

from export.architectures.applications import TORCH, network

_densenet = partial(
    network,
    family="DenseNet",
    year=2017,
    scaling=TORCH,
    source="arXiv:1608.06993, Huang et al.: Densely Connected Convolutional Networks",
)

ROWS = (
    _densenet("densenet121", "DenseNet121", 8_062_504, top1=0.750),
    _densenet("densenet169", "DenseNet169", 14_307_880, top1=0.762),
    _densenet("densenet201", "DenseNet201", 20_242_984, top1=0.773),
)
