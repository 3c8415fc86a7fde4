"""What one image costs a network, counted from its graph: multiply-adds, depth, and both by stage.

`python -m export.architectures.cost` writes `costs.py`, so that a list of networks needs no TensorFlow.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.architectures.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Cost:
    """`macs` are multiply-adds of convolutions, dense layers and attention for one image; `depth` is the number of
    these on the longest way through, without those that only weigh channels (squeeze-and-excitation) or have no weights
    (attention's products).
    """

    macs: int
    depth: int


@dataclass(frozen=True, slots=True)
class Stage:
    """All layers that answer at one height and width; `layers` counts those that multiply, such as "3x3" -> 4."""

    kind: str
    repeats: int
    layers: dict[str, int]
    shape: tuple[int, ...]
    parameters: int
    macs: int


def build_shapes(row: Architecture) -> Any:
    """The network at its published size, without memory behind its weights."""
    import keras

    with keras.StatelessScope(initialize_variables=False):
        return row.build(row.shape(row.input_size), row.classes)


def count_cost(model: Any) -> Cost:
    from keras import layers, tree

    deepest: dict[int, int] = {}
    total = 0
    for operation, size in _place_operations(model):
        multiplying = _list_multiplying(operation)
        total += sum(map(_count_macs, multiplying))
        before = [deepest.get(id(tensor._keras_history.operation), 0) for tensor in tree.flatten(operation.input)]
        only_weighs = size and not _read_size(operation)
        weighted = sum(isinstance(each, layers.Layer) for each in multiplying)
        deepest[id(operation)] = max(before, default=0) + (0 if only_weighs else weighted)
    return Cost(total, deepest[id(model.outputs[0]._keras_history.operation)])


def list_stages(model: Any) -> tuple[Stage, ...]:
    """From the image to the answer; where the height and width last were more than one, the head begins."""
    members: dict[tuple[int, ...], list[Any]] = {}
    for operation, size in _place_operations(model):
        members.setdefault(size, []).append(operation)
    return tuple(_summarize(size, operations) for size, operations in members.items())


def _place_operations(model: Any) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Every operation with the height and width that its stage answers at, () for the head.

    What pads or reshapes, or is of one pixel amid larger ones, belongs to the stage it lies in.
    """
    from keras import layers

    def passes(operation: Any) -> bool:
        """Also what attention computes by head: its height would be the number of heads."""
        reshapes = isinstance(operation, (layers.ZeroPadding2D, layers.Reshape, layers.Permute))
        return reshapes or not (isinstance(operation, layers.Layer) or len(operation.output.shape) == 3)

    operations = [each for each in model.operations if not isinstance(each, layers.InputLayer)]
    sizes = [_read_size(each) for each in operations]
    last = max(number for number, size in enumerate(sizes) if size)
    current = next(size for each, size in zip(operations, sizes, strict=True) if size and not passes(each))
    for number, (operation, size) in enumerate(zip(operations, sizes, strict=True)):
        if number > last:
            current = ()
        elif size and not passes(operation):
            current = size
        yield operation, current


def _read_size(operation: Any) -> tuple[int, ...]:
    """Height and width of what it answers, or the number of its tokens; () for one of either, and for what has none.

    Attention's own tensors, which are by head, belong to the stage they lie in.
    """
    shape = operation.output.shape
    if len(shape) == 3:
        return tuple(shape[1:2]) if shape[1] > 1 else ()
    return tuple(shape[1:3]) if len(shape) == 4 and shape[1] * shape[2] > 1 else ()


def _list_multiplying(operation: Any) -> list[Any]:
    """The operation itself or, where it is a small network such as ConvNeXt's stem, those inside of it."""
    inside = getattr(operation, "layers", [operation])
    return [each for each in inside if _count_macs(each)]


def _count_macs(operation: Any) -> int:
    """Multiply-adds of one image. A bias, a normalization and an activation count nothing, as in papers."""
    from keras import layers

    if _multiplies_activations(operation):
        products: int = math.prod(operation.output.shape[1:]) * operation.input[0].shape[-1]
        return products
    kernels: tuple[Any, ...]
    match operation:
        case layers.SeparableConv2D():
            kernels = (operation.depthwise_kernel, operation.pointwise_kernel)
        case layers.Conv2D() | layers.DepthwiseConv2D() | layers.Dense():
            kernels = (operation.kernel,)
        case _:
            return 0
    shape = operation.output.shape
    places: tuple[int, ...] = shape[1:-1] if isinstance(operation, layers.Dense) else shape[1:3]
    weights: int = sum(math.prod(kernel.shape) for kernel in kernels)
    return math.prod(places) * weights


def _multiplies_activations(operation: Any) -> bool:
    """Whether it is a matrix product of two things that the network computes, of which attention has two a block."""
    return type(operation).__name__ == "Matmul" and isinstance(operation.input, (list, tuple))


def _name_kernel(operation: Any) -> str:
    from keras import layers

    if _multiplies_activations(operation):
        return "attention"
    if isinstance(operation, layers.Dense):
        return "dense"
    size = "x".join(map(str, operation.kernel_size))
    if _filters_by_channel(operation):
        return f"{size} separable" if isinstance(operation, layers.SeparableConv2D) else f"{size} depthwise"
    return f"{size} in {operation.groups} groups" if operation.groups > 1 else size


def _filters_by_channel(operation: Any) -> bool:
    """Whether it filters each channel alone; ConvNeXt's do so as convolutions in as many groups as channels."""
    from keras import layers

    if isinstance(operation, layers.Conv2D):
        return bool(operation.groups == operation.filters > 1)
    return isinstance(operation, (layers.DepthwiseConv2D, layers.SeparableConv2D))


def _summarize(size: tuple[int, ...], operations: list[Any]) -> Stage:
    from keras import layers

    multiplying = [each for operation in operations for each in _list_multiplying(operation)]
    by_channel = sum(map(_filters_by_channel, multiplying))
    sums = sum(isinstance(each, layers.Add) or type(each).__name__ == "Add" for each in operations)
    joined = sum(isinstance(each, layers.Concatenate) for each in operations)
    attention = sum(map(_multiplies_activations, operations)) // 2
    if not size:
        kind, repeats = "head", 1
    elif attention:
        kind, repeats = "transformer blocks", attention
    elif by_channel and joined:
        kind, repeats = "joined depthwise branches", joined
    elif by_channel:
        kind, repeats = "depthwise blocks", by_channel
    elif sums:
        kind, repeats = "residual blocks", sums
    elif joined:
        kind, repeats = "joined branches", joined
    elif multiplying:
        kind, repeats = "convolutions", len(multiplying)
    else:
        kind, repeats = "pooling", 1
    placed = [each for each in operations if not size or _read_size(each) == size]
    parameters = sum(each.count_params() for each in operations if isinstance(each, layers.Layer))
    return Stage(
        kind,
        repeats,
        dict(Counter(map(_name_kernel, multiplying)).most_common()),
        tuple(placed[-1].output.shape[1:]),
        parameters,
        sum(map(_count_macs, multiplying)),
    )


def main() -> int:
    """Counts every row anew; minutes."""
    from export.listing import ROWS

    lines = []
    for row in ROWS.values():
        cost = count_cost(build_shapes(row))
        lines.append(f'        "{row.name}": Cost({cost.macs:_}, {cost.depth}),')
        print(lines[-1].strip(), flush=True)
    head = (
        '"""What every network costs at its published size. Generated: `python -m export.architectures.cost`."""',
        "",
        "from collections.abc import Mapping",
        "from types import MappingProxyType",
        "",
        "from export.architectures.cost import Cost",
        "",
        "COSTS: Mapping[str, Cost] = MappingProxyType(",
        "    {",
    )
    Path(__file__).with_name("costs.py").write_text("\n".join((*head, *lines, "    }", ")", "")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
