"""A frozen, folded SavedModel whose network computes in float16 or bfloat16.

The graph itself is rewritten, after batch norms were folded in float32: a Keras model under a mixed
policy keeps them, in float32 between two casts each. From the `tensor` on everything is half precision
up to the logits; the softmax, and what clients send and get, stay float32.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from export.convert.signatures import PROBABILITIES, TENSOR
from service.repository.manifest import FEATURES, SAVED_MODEL

_SOFTMAX = "Softmax"
_SUFFIX = "/half"


def write(source: Path, target: Path, precision: str) -> None:
    """Writes the SavedModel of the version folder `source` into `target`, its network in `precision`."""
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel()
    document.ParseFromString((source / SAVED_MODEL).read_bytes())
    (meta_graph,) = document.meta_graphs
    _convert(meta_graph.graph_def, precision)
    (target / SAVED_MODEL).write_bytes(document.SerializeToString())
    (target / "variables").mkdir(exist_ok=True)


def _convert(graph: Any, precision: str) -> None:
    import tensorflow as tf

    dtype = tf.dtypes.as_dtype(precision)
    nodes = {node.name: node for node in graph.node}
    network = _ancestors(nodes, [PROBABILITIES], until=TENSOR)
    end = next(name for name in network if nodes[name].op == _SOFTMAX)
    network = _ancestors(nodes, nodes[end].input, until=TENSOR)
    for name in network:
        node = nodes[name]
        if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum:
            values = tf.make_ndarray(node.attr["value"].tensor).astype(dtype.as_numpy_dtype)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values, dtype))
        for attribute in node.attr.values():
            if attribute.type == tf.float32.as_datatype_enum:
                attribute.type = dtype.as_datatype_enum
        for position, source in enumerate(node.input):
            if _name(source) == TENSOR:
                node.input[position] = TENSOR + _SUFFIX
    _cast(graph, TENSOR, TENSOR + _SUFFIX, tf.float32, dtype)
    logits = nodes[end].input[0]
    _cast(graph, logits, end + _SUFFIX, dtype, tf.float32)
    nodes[end].input[0] = end + _SUFFIX
    if FEATURES in nodes:  # clients get them as float32 too
        _cast(graph, nodes[FEATURES].input[0], FEATURES + _SUFFIX, dtype, tf.float32)
        nodes[FEATURES].input[0] = FEATURES + _SUFFIX


def _cast(graph: Any, source: str, name: str, before: Any, after: Any) -> None:
    node = graph.node.add(name=name, op="Cast", input=[source])
    node.attr["SrcT"].type = before.as_datatype_enum
    node.attr["DstT"].type = after.as_datatype_enum


def _ancestors(nodes: dict[str, Any], ends: Iterable[str], until: str) -> set[str]:
    """Names of everything that `ends` are computed from, themselves included; not `until` nor what is before it."""
    found: set[str] = set()
    open_ends = [_name(end) for end in ends]
    while open_ends:
        name = open_ends.pop()
        if name not in found and name != until:
            found.add(name)
            open_ends += [_name(source) for source in nodes[name].input]
    return found


def _name(source: str) -> str:
    """Of the node behind an edge such as "add:0" or "^check"."""
    return source.removeprefix("^").partition(":")[0]
