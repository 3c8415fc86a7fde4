"""Xception, from Keras' own builder."""

from export.architectures.applications import TF, network

ROWS = (
    network(
        "xception",
        "Xception",
        22_910_480,
        top1=0.790,
        top5=0.945,
        licence="MIT",
        family="Xception",
        year=2017,
        scaling=TF,
        input_size=299,
        smallest_size=71,
        source="arXiv:1610.02357, Chollet: Xception: Deep Learning with Depthwise Separable Convolutions",
    ),
)
