"""Every network that can be exported: one row each, one file a family. A new family is its file and a name below."""

from collections.abc import Mapping
from types import MappingProxyType

from export.architectures import (
    alexnet,
    convnext,
    densenet,
    efficientnet,
    efficientnet_lite,
    efficientnet_v2,
    googlenet,
    inception,
    inception_v2,
    inception_v4,
    lenet,
    mnasnet,
    mobilenet,
    nasnet,
    network_in_network,
    residual,
    resnet,
    shufflenet,
    squeezenet,
    vgg,
    vit,
    xception,
)
from export.architectures.architecture import Architecture

# In the order their stories began, which is how --list shows them.
_FAMILIES = (
    lenet,
    alexnet,
    network_in_network,
    vgg,
    googlenet,
    inception_v2,
    inception,
    inception_v4,
    resnet,
    residual,
    squeezenet,
    xception,
    densenet,
    mobilenet,
    shufflenet,
    mnasnet,
    nasnet,
    efficientnet,
    efficientnet_lite,
    efficientnet_v2,
    vit,
    convnext,
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {row.name: row for family in _FAMILIES for row in family.ROWS}
)
