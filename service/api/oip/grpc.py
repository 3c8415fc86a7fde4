"""Open Inference Protocol v2 ("KServe v2") over gRPC: inference.GRPCInferenceService, for its clients and Triton's."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf import json_format

from service import version as about
from service.api.grpc.request import UnaryCall, check_count
from service.api.oip import protocol, triton
from service.api.oip.tensors import encode_raw, name_datatype, parse_contents, parse_raw
from service.errors import InvalidInput, NotFound, NotReady, ServiceError, Unsupported, listed
from service.predictor import Predictor
from service.protobuf.stubs import oip_pb2, oip_pb2_grpc
from service.repository.manifest import Manifest
from service.types import ModelRef, PredictRequest, PredictResult, dtype_of

_LARGE = 2**20  # bytes past which reading leaves the event loop to the others
_FINAL = "triton_final_response"
SERVICE = "inference.GRPCInferenceService"


def _make_absent(why: str) -> "Callable[[InferenceService, Any, UnaryCall], Awaitable[Any]]":
    async def refuse(self: "InferenceService", request: Any, call: UnaryCall) -> Any:
        raise Unsupported(why)

    return refuse


class InferenceService(oip_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated
    """Health, metadata, inference and the repository's index. Replies carry raw_output_contents."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def ServerLive(self, request: Any, call: UnaryCall) -> Any:
        return oip_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, call: UnaryCall) -> Any:
        return oip_pb2.ServerReadyResponse(ready=not self._predictor.find_trouble())

    async def ModelReady(self, request: Any, call: UnaryCall) -> Any:
        """False also for models that are not there."""
        try:
            await self._predictor.describe(call.caller, _read_ref(request.name, request.version))
        except (NotFound, NotReady):
            return oip_pb2.ModelReadyResponse(ready=False)
        return oip_pb2.ModelReadyResponse(ready=not self._predictor.find_trouble())

    async def ServerMetadata(self, request: Any, call: UnaryCall) -> Any:
        return oip_pb2.ServerMetadataResponse(name=about.NAME, version=about.version(), extensions=protocol.EXTENSIONS)

    async def ModelMetadata(self, request: Any, call: UnaryCall) -> Any:
        manifest = await self._predictor.describe(call.caller, _read_ref(request.name, request.version))
        statuses = await self._predictor.list_statuses(call.caller, manifest.name)
        return oip_pb2.ModelMetadataResponse(**protocol.describe_model(manifest, statuses))

    async def ModelInfer(self, request: Any, call: UnaryCall) -> Any:
        result, reply = await self._infer(request, call)
        call.set_served_by(result)
        return reply

    async def _infer(self, request: Any, call: UnaryCall) -> tuple[PredictResult, Any]:
        """The result, and the ModelInferResponse of it. Raises ServiceError."""
        async with call.admit(self._predictor, _read_ref(request.model_name, request.model_version)) as admitted:
            outputs = _read_outputs(request)
            if sum(map(len, request.raw_input_contents)) > _LARGE:
                question = await asyncio.to_thread(_parse_request, request, outputs, admitted.manifest)
            else:
                question = _parse_request(request, outputs, admitted.manifest)
            result = await admitted.predict(question)
        reply = oip_pb2.ModelInferResponse(
            model_name=result.ref.name, model_version=str(result.ref.version), id=request.id
        )
        for output, array in protocol.pick_outputs(result, outputs):
            datatype = name_datatype(dtype_of(array.dtype))
            reply.outputs.add(name=output.name, datatype=datatype, shape=array.shape)
            reply.raw_output_contents.append(encode_raw(array))
        return result, reply

    async def ModelStreamInfer(self, request: Any, call: UnaryCall) -> Any:
        """One message of a stream. An answer is the last one of its request, whether it is an error or not."""
        try:
            _, reply = await self._infer(request, call)
            answer = oip_pb2.ModelStreamInferResponse(infer_response=reply)
        except ServiceError as error:
            call.failure = error.code
            answer = oip_pb2.ModelStreamInferResponse(error_message=error.message)
            answer.infer_response.id = request.id
        answer.infer_response.parameters[_FINAL].bool_param = True
        return answer

    async def ModelConfig(self, request: Any, call: UnaryCall) -> Any:
        manifest = await self._predictor.describe(call.caller, _read_ref(request.name, request.version))
        document = {"config": triton.describe_config(manifest, self._predictor.max_rows)}
        return json_format.ParseDict(document, oip_pb2.ModelConfigResponse())

    async def ModelStatistics(self, request: Any, call: UnaryCall) -> Any:
        """Of every model where none is named."""
        ref = ModelRef.parse(request.name, request.version)
        found = await self._predictor.list_statistics(call.caller, ref.name, ref.version)
        return json_format.ParseDict(triton.describe_statistics(found), oip_pb2.ModelStatisticsResponse())

    async def RepositoryIndex(self, request: Any, call: UnaryCall) -> Any:
        return oip_pb2.RepositoryIndexResponse(
            models=protocol.list_versions(self._predictor.list_versions(call.caller), request.ready)
        )

    RepositoryModelLoad = RepositoryModelUnload = _make_absent(protocol.NO_LOADING)
    TraceSetting = LogSettings = _make_absent(protocol.NO_SETTINGS)
    SystemSharedMemoryStatus = SystemSharedMemoryRegister = SystemSharedMemoryUnregister = _make_absent(
        protocol.NO_SHARED_MEMORY
    )
    CudaSharedMemoryStatus = CudaSharedMemoryRegister = CudaSharedMemoryUnregister = SystemSharedMemoryStatus


def _read_ref(name: str, version: str) -> ModelRef:
    if not name:
        raise InvalidInput("the request names no model")
    return protocol.parse_ref(name, version)


def _read_outputs(request: Any) -> tuple[protocol.Output, ...]:
    check_count("inputs", request.inputs)
    check_count("raw inputs", request.raw_input_contents)
    check_count("outputs", request.outputs)
    return tuple(protocol.build_output(tensor.name, _read_parameters(tensor)) for tensor in request.outputs)


def _parse_request(request: Any, outputs: tuple[protocol.Output, ...], manifest: Manifest) -> PredictRequest:
    inputs = {tensor.name: tensor for tensor in request.inputs}
    if len(inputs) < len(request.inputs):
        raise InvalidInput(f"an input is there twice: {listed([tensor.name for tensor in request.inputs])}")
    signature = protocol.find_signature(manifest, _read_parameters(request), inputs)
    for tensor in request.inputs:
        protocol.refuse_shared_memory(tensor.name, tensor.parameters)
    raw = request.raw_input_contents
    if raw and len(raw) != len(inputs):
        raise InvalidInput(f"raw_input_contents has {len(raw)} tensors for {len(inputs)} inputs; send every one raw")
    arrays = {}
    for position, (name, tensor) in enumerate(inputs.items()):
        if not raw:
            arrays[name] = parse_contents(name, tensor.datatype, tensor.shape, tensor.contents)
        elif tensor.HasField("contents"):
            raise InvalidInput(f"input {name!r} has contents beside raw_input_contents; send one of them")
        else:
            arrays[name] = parse_raw(name, tensor.datatype, tensor.shape, raw[position])
    return protocol.build_request(manifest, signature, arrays, outputs)


def _read_parameters(message: Any) -> dict[str, Any]:
    """Name -> value of what a request or a tensor carries beside its fields; those without a value are left out."""
    check_count("parameters", message.parameters)
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in message.parameters.items()}
    return {name: getattr(message.parameters[name], kind) for name, kind in kinds.items() if kind}
