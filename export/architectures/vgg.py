"""VGG, from Keras' own builders."""

from functools import partial

from export.architectures.applications import CAFFE, GENTLE, network

_vgg = partial(
    network,
    family="VGG",
    year=2014,
    scaling=CAFFE,
    recipe=GENTLE,
    source="arXiv:1409.1556, Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image "
    "Recognition",
)

ROWS = (
    _vgg("vgg16", "VGG16", 138_357_544, top1=0.713),
    _vgg("vgg19", "VGG19", 143_667_240, top1=0.713),
)
