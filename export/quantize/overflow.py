"""Why a form of a network answers NaN: weights that float16 cannot hold, or the first operation that makes none."""

from pathlib import Path
from typing import Any

import numpy as np

from export.convert.signatures import IMAGE, PROBABILITIES, TENSOR
from export.quantize import flatbuffer
from export.quantize.graph import find_ancestors, read_graph
from export.quiet import silenced

_LARGEST_FLOAT16 = 65_504


def explain_lite(file: Path, images: Any) -> str:
    """Of a `.tflite` file and images, uint8 [n, H, W, 3], to which it answers NaN; "" where all is finite after all."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    subgraph = flatbuffer.read(file.read_bytes()).subgraphs[0]
    with silenced():
        # Without XNNPACK, which keeps what lies between two operations to itself.
        interpreter = Interpreter(
            model_path=str(file),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        runner = interpreter.get_signature_runner(IMAGE)
        for image in images:
            runner(**{IMAGE: image[np.newaxis]})
            for operator in subgraph.operators:
                for index in (*operator.inputs, *operator.outputs):
                    value = _read(interpreter, index)
                    if value is not None and not np.isfinite(value).all():
                        stored = value.dtype == np.float16 and index not in operator.outputs
                        return _describe(flatbuffer.name(subgraph, index), value, stored)
    return ""


def _read(interpreter: Any, index: int) -> Any | None:
    """A tensor of floats; None where it is another, or is left out (-1)."""
    try:
        value = interpreter.get_tensor(index) if index >= 0 else None
    except ValueError:
        return None
    return value if value is not None and np.issubdtype(value.dtype, np.floating) else None


def explain_saved_model(folder: Path, images: Any) -> str:
    """The same of the SavedModel of a version folder, its network in half precision."""
    import tensorflow as tf

    definition = read_graph(folder)
    nodes = {node.name: node for node in definition.node}
    network = find_ancestors(nodes, [PROBABILITIES], until=TENSOR)
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    floats = (tf.float16, tf.bfloat16, tf.float32)
    tensors = [
        operation.outputs[0]
        for operation in graph.get_operations()  # as they were imported: each behind what it needs
        if operation.name in network and operation.outputs and operation.outputs[0].dtype in floats
    ]
    with tf.compat.v1.Session(graph=graph) as session:
        for image in images:
            values = session.run(tensors, {f"{IMAGE}:0": image[np.newaxis]})
            for tensor, value in zip(tensors, values, strict=True):
                if not np.isfinite(np.asarray(value, np.float32)).all():
                    half = tensor.dtype == tf.float16
                    return _describe(tensor.op.name, value, half and tensor.op.type == "Const", half)
    return ""


def _describe(name: str, value: Any, stored: bool, half: bool = False) -> str:
    if stored:
        return f"float16 overflow in the weights {name} (float16 ends at {_LARGEST_FLOAT16:,})"
    if half and np.isinf(value).any():
        return f"float16 overflow in {name} (float16 ends at {_LARGEST_FLOAT16:,})"
    return f"the first {'infinity' if np.isinf(value).any() else 'NaN'} is in {name}"
