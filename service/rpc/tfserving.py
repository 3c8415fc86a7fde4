"""TensorFlow Serving's gRPC services: PredictionService and ModelService."""

from typing import Any

import grpc
import grpc.aio

from service.errors import InvalidInput, NotFound, ServiceError
from service.manifest import Manifest
from service.messages import ModelRef, PredictRequest
from service.predictor import Predictor
from service.rpc import calls, errors
from service.servable import State
from service.wire import codec, signatures
from service.wire.stubs import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

Context = grpc.aio.ServicerContext[Any, Any]

_STATES = {state: get_model_status_pb2.ModelVersionStatus.State.Value(state) for state in State}
_SIGNATURE_DEF = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # generated
    """Predict and GetModelMetadata. Classify, Regress and MultiInference answer UNIMPLEMENTED."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def Predict(self, request: Any, context: Context) -> Any:
        async def read(manifest: Manifest) -> PredictRequest:
            return _read(request, manifest)

        try:
            result = await self._predictor.predict(calls.of(_ref(request), context), read)
        except ServiceError as error:
            await errors.abort(context, error)
        reply = predict_pb2.PredictResponse()
        _name(reply.model_spec, result.ref, result.signature)
        for alias, array in result.outputs.items():
            reply.outputs[alias].CopyFrom(codec.to_proto(array))
        return reply

    async def GetModelMetadata(self, request: Any, context: Context) -> Any:
        try:
            if list(request.metadata_field) != [_SIGNATURE_DEF]:
                asked = list(request.metadata_field)
                raise InvalidInput(f"metadata_field must be exactly [{_SIGNATURE_DEF!r}], got {asked}")
            manifest = await self._predictor.describe(_ref(request))
        except ServiceError as error:
            await errors.abort(context, error)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in manifest.signatures.items():
            definitions.signature_def[name].CopyFrom(signatures.to_proto(signature))
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        _name(reply.model_spec, ModelRef(manifest.name, manifest.version), "")
        reply.metadata[_SIGNATURE_DEF].Pack(definitions)
        return reply


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # generated
    """GetModelStatus. Models come from the repository, so HandleReloadConfigRequest answers UNIMPLEMENTED."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def GetModelStatus(self, request: Any, context: Context) -> Any:
        try:
            ref = _ref(request)
            statuses = await self._predictor.statuses(ref.name)
            if ref.version is not None:
                statuses = [status for status in statuses if status.version == ref.version]
                if not statuses:
                    raise NotFound(f"model {ref.name!r} has no version {ref.version}")
        except ServiceError as error:
            await errors.abort(context, error)
        reply = get_model_status_pb2.GetModelStatusResponse()
        for status in statuses:
            entry = reply.model_version_status.add(version=status.version, state=_STATES[status.state])
            if status.state is State.END and status.error:
                entry.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                entry.status.error_message = status.error
        return reply


def _read(request: Any, manifest: Manifest) -> PredictRequest:
    name = request.model_spec.signature_name
    known = manifest.signature(name).inputs
    if unknown := sorted(set(request.inputs) - set(known)):  # before anything of it is unpacked
        raise InvalidInput(f"signature {name!r} has no input {unknown[0]!r}; it takes {sorted(known)}")
    inputs = {alias: codec.to_array(alias, tensor) for alias, tensor in request.inputs.items()}
    return PredictRequest(inputs, name, tuple(request.output_filter))


def _ref(request: Any) -> ModelRef:
    spec = request.model_spec
    if not spec.name:
        raise InvalidInput("model_spec needs a name")
    if spec.HasField("version_label"):
        return ModelRef(spec.name, label=spec.version_label)
    return ModelRef(spec.name, spec.version.value if spec.HasField("version") else None)


def _name(spec: Any, ref: ModelRef, signature: str) -> None:
    spec.name, spec.signature_name = ref.name, signature
    spec.version.value = ref.version
