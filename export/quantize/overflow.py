"""Why a form of a network answers NaN: weights that float16 cannot hold, or the first operation that makes none.

The place is named, and the largest value that the float32 form has there.
"""

from pathlib import Path
from typing import Any

import numpy as np

from export.convert.signatures import IMAGE, PROBABILITIES, TENSOR
from export.quantize import flatbuffer
from export.quantize.graph import find_ancestors, read_graph
from export.quiet import silenced

_LARGEST_FLOAT16 = 65_504


def explain_lite(file: Path, float32: Path | bytes, images: Any) -> str:
    """Of a `.tflite` file, its form in `float32` and images, uint8 [n, H, W, 3], to which the file answers NaN.

    "" where all is finite after all.
    """
    subgraph = flatbuffer.read(file.read_bytes()).subgraphs[0]
    with silenced():
        interpreter = _open(file)
        runner = interpreter.get_signature_runner(IMAGE)
        for image in images:
            runner(**{IMAGE: image[np.newaxis]})
            for operator in subgraph.operators:
                for index in (*operator.inputs, *operator.outputs):
                    value = _read(interpreter, index)
                    if value is not None and not np.isfinite(value).all():
                        stored = value.dtype == np.float16 and index not in operator.outputs
                        name = flatbuffer.name(subgraph, index)
                        return _describe(name, value, _find_largest(float32, name, image), stored)
    return ""


def _open(model: Path | bytes) -> Any:
    """An interpreter without XNNPACK, which keeps what lies between two operations to itself."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    return Interpreter(
        **source,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )


def _find_largest(model: Path | bytes, name: str, image: Any) -> float | None:
    """The largest finite magnitude in the tensor `name` of a `.tflite` file; None where it has no such tensor."""
    data = model if isinstance(model, bytes) else model.read_bytes()
    subgraph = flatbuffer.read(data).subgraphs[0]
    indices = [index for index in range(len(subgraph.tensors)) if flatbuffer.name(subgraph, index) == name]
    if not indices:
        return None
    interpreter = _open(model)
    interpreter.get_signature_runner(IMAGE)(**{IMAGE: image[np.newaxis]})
    return _largest(_read(interpreter, indices[0]))


def _read(interpreter: Any, index: int) -> Any | None:
    """A tensor of floats; None where it is another, or is left out (-1)."""
    try:
        value = interpreter.get_tensor(index) if index >= 0 else None
    except ValueError:
        return None
    return value if value is not None and np.issubdtype(value.dtype, np.floating) else None


def explain_saved_model(folder: Path, float32: Path, images: Any) -> str:
    """The same of the SavedModel of a version folder, its network in half precision, and the folder with `float32`."""
    import tensorflow as tf

    definition = read_graph(folder)
    nodes = {node.name: node for node in definition.node}
    network = find_ancestors(nodes, [PROBABILITIES], until=TENSOR)
    graph = _import(definition)
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
                    half, name = tensor.dtype == tf.float16, tensor.op.name
                    largest = _compute_largest(float32, name, image)
                    return _describe(name, value, largest, half and tensor.op.type == "Const", half)
    return ""


def _import(definition: Any) -> Any:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    return graph


def _compute_largest(folder: Path, name: str, image: Any) -> float | None:
    """The largest finite magnitude that the operation `name` of a SavedModel gives; None where it has no such one."""
    import tensorflow as tf

    definition = read_graph(folder)
    if name not in {node.name for node in definition.node}:
        return None
    with tf.compat.v1.Session(graph=_import(definition)) as session:
        return _largest(session.run(f"{name}:0", {f"{IMAGE}:0": image[np.newaxis]}))


def _largest(values: Any | None) -> float | None:
    if values is None:
        return None
    finite = np.abs(np.asarray(values, np.float64))
    finite = finite[np.isfinite(finite)]
    return float(finite.max()) if finite.size else None


def _describe(name: str, value: Any, largest: float | None, stored: bool, half: bool = False) -> str:
    """`value` is what lies in `name`, `largest` what float32 has there at most, where that is known."""
    found = "" if largest is None else f"up to {largest:,.6g} in float32"
    if stored or (half and np.isinf(value).any()):
        of = "the weights " if stored else ""
        return f"float16 overflow in {of}{name} ({found}{found and '; '}float16 ends at {_LARGEST_FLOAT16:,})"
    return f"the first {'infinity' if np.isinf(value).any() else 'NaN'} is in {name}{found and f' ({found})'}"
