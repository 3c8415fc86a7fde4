"""The blocks of a network, front to back: what is frozen and unfrozen together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# "conv4_block3_1_conv" -> "conv4_block3", "block2a_expand" -> "block2a", "expanded_conv_3_project" -> "expanded_conv_3"
_NAME = re.compile(r"(.*?block_?\d+[a-z]?)(?:_|$)|(.*?\d+)(?:_|$)")


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive layers, by whose name those who built the network call it."""

    name: str
    layers: tuple[Any, ...]


def find_blocks(model: Any, layers: Sequence[Any]) -> tuple[Block, ...]:
    """The blocks that those `layers` of a Functional `model` that have weights form, front to back.

    A block ends where a single tensor carries all that comes later (behind a residual sum or a concatenation, for
    one) and the names change; so a block is one of ResNet, a mixture of Inception, a group of VGG. Each has at least
    one layer with a kernel: a batch norm belongs to the convolution ahead of it.
    """
    groups: list[list[Any]] = [[]]
    key, ahead = "", None
    for layer, narrow in _walk(model):
        if layer not in layers:
            continue
        name = _find_name(layer.name)
        if not _has_kernel(layer):
            ahead = (name, len(groups[-1])) if narrow else ahead
        elif any(map(_has_kernel, groups[-1])) and name != key:
            if narrow:
                groups.append([])
            elif ahead is not None and ahead[0] == name:  # a block that begins with a batch norm
                groups.append(groups[-1][ahead[1] :])
                del groups[-2][ahead[1] :]
        if _has_kernel(layer):
            key, ahead = name, None
        groups[-1].append(layer)
    return tuple(Block(_find_name(group[0].name), tuple(group)) for group in groups if group)


def _walk(model: Any) -> list[tuple[Any, bool]]:
    """Layers with weights in order, and whether what lay between one and those ahead of it was a single tensor."""
    places = {id(layer): place for place, layer in enumerate(model.operations)}
    last_use: dict[int, int] = {}
    for place, layer in enumerate(model.operations):
        for node in layer._inbound_nodes:
            for parent in node.parent_nodes:
                source = places.get(id(parent.operation))
                if source is not None:
                    last_use[source] = max(last_use.get(source, -1), place)
    walked = []
    narrow = True
    open_until: dict[int, int] = {}
    for place, layer in enumerate(model.operations):
        if getattr(layer, "weights", None):
            walked.append((layer, narrow))
            narrow = False
        open_until[place] = last_use.get(place, -1)
        open_until = {source: last for source, last in open_until.items() if last > place}
        narrow = narrow or len(open_until) == 1
    return walked


def _find_name(layer: str) -> str:
    found = _NAME.match(layer)
    return (found[1] or found[2]) if found else layer


def _has_kernel(layer: Any) -> bool:
    return any(len(weight.shape) > 1 for weight in layer.weights)
