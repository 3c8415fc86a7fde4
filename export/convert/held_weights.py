"""Large weights of a Keras network, held out of its graph while TensorFlow works on that.

Turning variables into constants takes a dozen times their memory, and writing a graph several times. So in the place of
each large weight the graph has an ImmutableConst, which is of no value and no memory, and becomes a constant once its
value is needed. (A Placeholder cannot be: TensorFlow copies no function that depends on one.)
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

HeldWeights = dict[str, Any]
"""Keras variables by the name of the operation that stands for each."""

LARGE = 4_096
"""Bytes of a constant that is a weight: nothing that decides on a shape is as large."""


@contextmanager
def hold(model: Any, held: HeldWeights) -> Iterator[None]:
    """Within a graph: while `model` is called, its large weights are stood for, which is noted in `held`."""
    import keras
    import numpy as np
    import tensorflow as tf

    mapping = []
    for variable in model.variables:
        if np.dtype(variable.dtype).itemsize * math.prod(variable.shape) >= LARGE:
            # The layer's name stays in it: messages about weights name them by that.
            name = f"weight/{re.sub('[^A-Za-z0-9_./-]', '_', variable.path)}"
            stand_in = tf.raw_ops.ImmutableConst(
                dtype=variable.dtype, shape=variable.shape, memory_region_name="", name=name
            )
            held[stand_in.op.name] = variable
            mapping.append((variable, stand_in))
    with keras.StatelessScope(state_mapping=mapping):
        yield


def fold(model: Any) -> bool:
    """Whether constants around weights can become part of them: there is a batch norm somewhere."""
    import keras

    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in model._flatten_layers())


def fill(graph: Any, held: Mapping[str, Any]) -> None:
    """Makes constants of what stands for weights in a GraphDef."""
    for name, node in _make_constants(graph, held):
        node.attr["value"].tensor.tensor_content = read_bytes(held[name])


def leave_empty(graph: Any, held: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with zeros for their values, which are returned by name as they are in `held`: variables."""
    return {name: held[name] for name, _ in _make_constants(graph, held)}


def read_bytes(weight: Any) -> bytes:
    """Of a variable, as a TensorProto has them, or of bytes."""
    import numpy as np

    return weight if isinstance(weight, bytes) else np.asarray(weight).tobytes()


def _make_constants(graph: Any, held: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for node in graph.node:
        if node.name in held:
            node.op = "Const"
            tensor = node.attr["value"].tensor
            tensor.dtype = node.attr["dtype"].type
            tensor.tensor_shape.CopyFrom(node.attr["shape"].shape)
            for attribute in ("shape", "memory_region_name"):
                del node.attr[attribute]
            yield node.name, node
