"""A frozen, folded SavedModel whose network computes in float16 or bfloat16.

The graph itself is rewritten, after batch norms were folded in float32: a Keras model under a mixed
policy keeps them, in float32 between two casts each. From the `tensor` on everything is half precision
up to the logits; the softmax, and what clients send and get, stay float32.
"""

from pathlib import Path
from typing import Any

from export.convert.signatures import PROBABILITIES, TENSOR
from export.quantize import graph
from service.repository.manifest import FEATURES, SAVED_MODEL

_SOFTMAX = "Softmax"
_SUFFIX = "/half"


def write(source: Path, target: Path, precision: str) -> None:
    """Writes the SavedModel of the version folder `source` into `target`, its network in `precision`."""
    document = graph.read_document(source)
    _convert(document.meta_graphs[0].graph_def, precision)
    (target / SAVED_MODEL).write_bytes(document.SerializeToString())
    (target / "variables").mkdir(exist_ok=True)


def _convert(definition: Any, precision: str) -> None:
    import tensorflow as tf

    dtype = tf.dtypes.as_dtype(precision)
    nodes = {node.name: node for node in definition.node}
    network = graph.find_ancestors(nodes, [PROBABILITIES], until=TENSOR)
    end = next(name for name in network if nodes[name].op == _SOFTMAX)
    network = graph.find_ancestors(nodes, nodes[end].input, until=TENSOR)
    for name in network:
        node = nodes[name]
        if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum:
            values = tf.make_ndarray(node.attr["value"].tensor).astype(dtype.as_numpy_dtype)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values, dtype))
        for attribute in node.attr.values():
            if attribute.type == tf.float32.as_datatype_enum:
                attribute.type = dtype.as_datatype_enum
        for position, source in enumerate(node.input):
            if graph.find_node(source) == TENSOR:
                node.input[position] = TENSOR + _SUFFIX
    _cast(definition, TENSOR, TENSOR + _SUFFIX, tf.float32, dtype)
    logits = nodes[end].input[0]
    _cast(definition, logits, end + _SUFFIX, dtype, tf.float32)
    nodes[end].input[0] = end + _SUFFIX
    if FEATURES in nodes:  # clients get them as float32 too
        _cast(definition, nodes[FEATURES].input[0], FEATURES + _SUFFIX, dtype, tf.float32)
        nodes[FEATURES].input[0] = FEATURES + _SUFFIX


def _cast(definition: Any, source: str, name: str, before: Any, after: Any) -> None:
    node = definition.node.add(name=name, op="Cast", input=[source])
    node.attr["SrcT"].type = before.as_datatype_enum
    node.attr["DstT"].type = after.as_datatype_enum
