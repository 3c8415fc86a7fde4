"""What TensorFlow Serving's clients are told of a model: the states of its versions, and its signatures.

The messages of gRPC's GetModelStatus and GetModelMetadata, and the JSON that REST makes of them.
"""

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format

from service.models.version import Status
from service.protobuf import signatures
from service.protobuf.stubs import get_model_metadata_pb2, get_model_status_pb2
from service.repository.manifest import Manifest

SIGNATURE_DEF = "signature_def"

_UNKNOWN = 2  # google.rpc.Code: a version failed, and no code says how


def build_status(versions: Iterable[Status]) -> Any:
    """A GetModelStatusResponse, in the order given."""
    reply = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        state = get_model_status_pb2.ModelVersionStatus.State.Value(version.state)
        entry = reply.model_version_status.add(version=version.version, state=state)
        entry.status.SetInParent()  # clients look at its code, which is 0 where all is well
        if version.error and state == get_model_status_pb2.ModelVersionStatus.END:
            entry.status.error_code = _UNKNOWN
            entry.status.error_message = version.error
    return reply


def render_status(versions: Iterable[Status]) -> str:
    return json.dumps(_plain(build_status(versions)), indent=1)


def build_metadata(manifest: Manifest) -> Any:
    """A GetModelMetadataResponse with every SignatureDef."""
    reply = get_model_metadata_pb2.GetModelMetadataResponse()
    reply.model_spec.name = manifest.name
    reply.model_spec.version.value = manifest.version
    reply.metadata[SIGNATURE_DEF].Pack(_definitions(manifest))
    return reply


def render_metadata(manifest: Manifest) -> str:
    """REST unpacks what gRPC has in an Any."""
    document = {
        "model_spec": _plain(build_metadata(manifest).model_spec),
        "metadata": {SIGNATURE_DEF: _plain(_definitions(manifest))},
    }
    return json.dumps(document, indent=1)


def _definitions(manifest: Manifest) -> Any:
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, serialized in manifest.definitions.items():
        definitions.signature_def[name].ParseFromString(serialized)
    if not manifest.definitions:
        for name, signature in manifest.signatures.items():
            definitions.signature_def[name].CopyFrom(signatures.to_proto(signature))
    return definitions


def _plain(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
