"""Models hosted by a server that speaks PredictionService: TensorFlow Serving, or this very service."""

import asyncio
from typing import Any

import grpc
import grpc.aio

from service import current, errors
from service.backends.base import Found, Loaded
from service.manifest import Manifest
from service.messages import Tensors, is_model_name
from service.repository import Repository
from service.wire import codec, signatures
from service.wire.stubs import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_ERRORS: dict[grpc.StatusCode, type[errors.ServiceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.FAILED_PRECONDITION: errors.InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.UNAVAILABLE: errors.NotReady,
    grpc.StatusCode.NOT_FOUND: errors.NotReady,  # the catalog had it: it was unloaded upstream meanwhile
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}
_STATUS_TIMEOUT = 5.0  # seconds: status and metadata cost an upstream nothing


class UpstreamRunner:
    """One version on the upstream. Several batches travel at once: the upstream has its own queue."""

    slots = 8

    def __init__(self, stub: Any, target: str, name: str, version: int) -> None:
        self._stub, self._target, self._name, self._version = stub, target, name, version

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = self._name
        request.model_spec.version.value = self._version
        request.model_spec.signature_name = signature
        for alias, array in inputs.items():
            request.inputs[alias].CopyFrom(codec.to_request_proto(array))
        try:
            with current.upstream(self._target) as metadata:
                reply = await self._stub.Predict(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            kind = _ERRORS.get(error.code(), errors.BackendFailed)
            raise kind(f"{self._target} answered {error.code().name}: {error.details()}") from error
        try:
            return {alias: codec.to_array(alias, tensor) for alias, tensor in reply.outputs.items()}
        except errors.InvalidInput as error:  # its output, not our client's input
            raise errors.BackendFailed(f"{self._target} answered with a tensor that cannot be read: {error}") from error

    async def close(self) -> None:
        """The channel is the backend's; a version owns nothing on this side."""


class TFServingBackend:
    """Versions are the upstream's AVAILABLE ones. It cannot list its models: a name is looked for once a
    client asks, or from the start where `repository` has a folder of that name, whose manifests (labels,
    preprocessing) then also let the service decode images itself.
    """

    def __init__(self, target: str, repository: Repository | None = None) -> None:
        self._target, self._repository = target, repository
        self._channel = grpc.aio.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # A peer that vanished without a word is noticed, with requests under way, within 20 s.
                ("grpc.keepalive_time_ms", 15_000),
                ("grpc.keepalive_timeout_ms", 5_000),
            ],
        )
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._names: set[str] = set()

    async def find(self) -> Found:
        names = self._names | await self._local_names()
        found = {name: await self._available(name) for name in sorted(names)}
        if not found:
            await self._available("")  # nothing known yet: only learn whether somebody answers
        # What the upstream no longer has is asked for anew by the next client, not for ever.
        self._names -= {name for name, versions in found.items() if not versions}
        return {name: versions for name, versions in found.items() if versions}

    async def ask(self, name: str) -> bool:
        if not is_model_name(name) or not await self._available(name):
            return False
        self._names.add(name)
        return True

    async def _local_names(self) -> set[str]:
        if self._repository is None:
            return set()
        try:
            return set(await asyncio.to_thread(self._repository.scan))
        except errors.NotReady:  # a hint gone missing is no reason to stop following the upstream
            return set()

    async def _available(self, name: str) -> dict[int, str]:
        """The upstream's AVAILABLE versions of a model. Raises NotReady where the upstream does not answer."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        try:
            reply = await self._models.GetModelStatus(request, timeout=_STATUS_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise self._unreachable(error) from error
            return {}  # NOT_FOUND, or trouble with this one name, which must not stop the others
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return {int(status.version): "" for status in reply.model_version_status if status.state == available}

    def _unreachable(self, error: grpc.aio.AioRpcError) -> errors.NotReady:
        return errors.NotReady(
            f"the upstream {self._target} answered {error.code().name} ({error.details()}); "
            "is it up, and is --target right?"
        )

    async def load(self, name: str, version: int) -> Loaded:
        runner = UpstreamRunner(self._predict, self._target, name, version)
        manifest = await asyncio.to_thread(self._own_manifest, name, version)
        if manifest is None:
            definitions = await self._definitions(name, version)
            manifest = Manifest(
                name, version, signatures.from_protos(definitions), definitions=signatures.serialized(definitions)
            )
        return Loaded(manifest, runner)

    def _own_manifest(self, name: str, version: int) -> Manifest | None:
        if self._repository is None:
            return None
        try:
            return Manifest.read(self._repository.folder(name, version), name, version)
        except FileNotFoundError:
            return None

    async def _definitions(self, name: str, version: int) -> dict[str, Any]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = name
        request.model_spec.version.value = version
        try:
            reply = await self._predict.GetModelMetadata(request, timeout=_STATUS_TIMEOUT)
        except grpc.aio.AioRpcError as error:  # a passing fault: the next look tries again
            raise self._unreachable(error) from error
        definitions = get_model_metadata_pb2.SignatureDefMap()
        reply.metadata["signature_def"].Unpack(definitions)
        return dict(definitions.signature_def)

    async def close(self) -> None:
        await self._channel.close()
