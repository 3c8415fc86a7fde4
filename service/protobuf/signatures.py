"""SignatureDef <-> Signature: reading anybody's SavedModel, and answering GetModelMetadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.protobuf import tensors as codec
from service.protobuf.stubs import meta_graph_pb2, saved_model_pb2
from service.repository.manifest import Manifest, Signature, TensorSpec
from service.types import DEFAULT_SIGNATURE, Array

SERVE_TAG = "serve"

SignatureDef = Any
"""tensorflow.core.protobuf.meta_graph_pb2.SignatureDef: generated code carries no types."""


def read_saved_model(path: Path) -> dict[str, SignatureDef]:
    """The SignatureDefs of `saved_model.pb`'s serving graph, without any TensorFlow runtime.

    Raises ValueError, naming the file, where it does not parse or has no graph tagged "serve".
    """
    from google.protobuf.message import DecodeError

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path} is not a SavedModel, or only half of one: {error}") from error
    for graph in saved_model.meta_graphs:
        if SERVE_TAG in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise ValueError(f"{path} has no graph tagged {SERVE_TAG!r}; save it with tf.saved_model.save")


def from_protos(definitions: Mapping[str, SignatureDef]) -> dict[str, Signature]:
    """The callable ones: TensorFlow's bookkeeping entries (`__saved_model_init_op`) are left out."""
    return {
        name: Signature(_specs(definition.inputs), _specs(definition.outputs), definition.method_name)
        for name, definition in definitions.items()
        if not name.startswith("__") and definition.outputs
    }


def serialized(definitions: Mapping[str, SignatureDef]) -> dict[str, bytes]:
    """All of them, as they are: for `Manifest.definitions`."""
    return {name: definition.SerializeToString() for name, definition in definitions.items()}


def defaults(manifest: Manifest, name: str) -> dict[str, Array]:
    """The inputs of a signature that may be left out, with what then stands for them."""
    definition = meta_graph_pb2.SignatureDef.FromString(manifest.definitions.get(name or DEFAULT_SIGNATURE, b""))
    return {alias: codec.to_array(alias, tensor) for alias, tensor in definition.defaults.items()}


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        alias: TensorSpec(codec.dtype_name(info.dtype), _shape(info.tensor_shape)) for alias, info in tensors.items()
    }


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def to_proto(signature: Signature) -> SignatureDef:
    """The SignatureDef a client of GetModelMetadata discovers inputs and outputs from."""
    proto = meta_graph_pb2.SignatureDef(method_name=signature.method)
    for tensors, target in ((signature.inputs, proto.inputs), (signature.outputs, proto.outputs)):
        for alias, spec in tensors.items():
            info = target[alias]
            info.name = f"{alias}:0"
            info.dtype = codec.dtype_number(spec.dtype)
            if spec.shape is None:
                info.tensor_shape.unknown_rank = True
            for size in spec.shape or ():
                info.tensor_shape.dim.add(size=-1 if size is None else size)
    return proto
