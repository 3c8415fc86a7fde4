"""Every network that can be exported: one row each, one file a family. A new family is its file and a name below."""

from collections.abc import Mapping
from types import MappingProxyType

from export.architectures import (
    convnext,
    densenet,
    efficientnet,
    efficientnet_lite,
    efficientnet_v2,
    inception,
    lenet,
    mobilenet,
    nasnet,
    resnet,
    vgg,
    xception,
)
from export.architectures.architecture import Architecture

# In the order their stories began, which is how --list shows them.
_FAMILIES = (
    lenet,
    vgg,
    inception,
    resnet,
    xception,
    densenet,
    mobilenet,
    nasnet,
    efficientnet,
    efficientnet_lite,
    efficientnet_v2,
    convnext,
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {row.name: row for family in _FAMILIES for row in family.ROWS}
)
