"""SignatureDef <-> Signature: for foreign SavedModels, and for GetModelMetadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from service.protobuf import tensors
from service.protobuf.stubs import meta_graph_pb2, saved_model_pb2
from service.repository.manifest import Manifest, Signature, TensorSpec
from service.types import DEFAULT_SIGNATURE, Array

SERVE_TAG = "serve"

SignatureDef = Any
"""tensorflow.core.protobuf.meta_graph_pb2.SignatureDef: generated code carries no types."""


def from_protos(definitions: Mapping[str, SignatureDef]) -> dict[str, Signature]:
    """The signatures that clients can call, without TensorFlow's bookkeeping entries (`__saved_model_init_op`)."""
    return {
        name: Signature(_specs(definition.inputs), _specs(definition.outputs), definition.method_name)
        for name, definition in definitions.items()
        if not name.startswith("__") and definition.outputs
    }


def read_meta_graph(path: Path) -> Any:
    """The MetaGraphDef of a `saved_model.pb`, without TensorFlow. Raises ValueError where it has none for serving."""
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    for meta_graph in saved.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {SERVE_TAG}:
            return meta_graph
    raise ValueError(f"{path} has no graph that is tagged {SERVE_TAG!r}")


def serialize(definitions: Mapping[str, SignatureDef]) -> dict[str, bytes]:
    """Every definition as it is, for `Manifest.definitions`."""
    return {name: definition.SerializeToString() for name, definition in definitions.items()}


def defaults(manifest: Manifest, name: str) -> dict[str, Array]:
    """The inputs that a client may leave out of a signature, and their values then."""
    definition = meta_graph_pb2.SignatureDef.FromString(manifest.definitions.get(name or DEFAULT_SIGNATURE, b""))
    return {alias: tensors.to_array(alias, tensor) for alias, tensor in definition.defaults.items()}


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        alias: TensorSpec(tensors.dtype_name(info.dtype), _shape(info.tensor_shape)) for alias, info in infos.items()
    }


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def to_proto(signature: Signature) -> SignatureDef:
    """The SignatureDef that tells clients of GetModelMetadata the inputs and outputs."""
    proto = meta_graph_pb2.SignatureDef(method_name=signature.method)
    for specs, target in ((signature.inputs, proto.inputs), (signature.outputs, proto.outputs)):
        for alias, spec in specs.items():
            info = target[alias]
            info.name = f"{alias}:0"
            info.dtype = tensors.dtype_number(spec.dtype)
            if spec.shape is None:
                info.tensor_shape.unknown_rank = True
            for size in spec.shape or ():
                info.tensor_shape.dim.add(size=-1 if size is None else size)
    return proto
