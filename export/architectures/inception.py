"""Inception, from Keras' own builders."""

from functools import partial

from export.architectures.applications import TF, network

_inception = partial(network, licence="Apache-2.0", scaling=TF, input_size=299, smallest_size=75)

ROWS = (
    _inception(
        "inception_v3",
        "InceptionV3",
        23_851_784,
        top1=0.779,
        top5=0.937,
        family="Inception v3",
        year=2015,
        source="arXiv:1512.00567, Szegedy et al.: Rethinking the Inception Architecture for Computer Vision",
    ),
    _inception(
        "inception_resnet_v2",
        "InceptionResNetV2",
        55_873_736,
        top1=0.803,
        top5=0.953,
        family="Inception-ResNet v2",
        year=2016,
        source="arXiv:1602.07261, Szegedy et al.: Inception-v4, Inception-ResNet and the Impact of Residual "
        "Connections on Learning",
    ),
)
