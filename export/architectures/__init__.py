"""Every network that can be exported: one row each, one file a family."""

from collections.abc import Mapping
from types import MappingProxyType

from export.architectures import lenet, mobilenet
from export.architectures.architecture import Architecture

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({row.name: row for row in (*lenet.ROWS, *mobilenet.ROWS)})
