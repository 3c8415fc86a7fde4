"""Models on servers that speak PredictionService: replicas of TensorFlow Serving, or of this service."""

import asyncio
import logging
import ssl
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from grpc import StatusCode

from service import errors
from service.backends import row_probe
from service.backends.base import Found, Loaded
from service.backends.tfserving import targets
from service.backends.tfserving.channel import CallFailed
from service.backends.tfserving.client import Caller, Expected, UpstreamCall
from service.backends.tfserving.discovery import Survey
from service.backends.tfserving.load_balancer import State
from service.backends.tfserving.replicas import Replicas
from service.backends.tfserving.targets import Resolve
from service.observability.context import call_upstream
from service.observability.metrics.upstreams import ReplicaReport
from service.protobuf import signatures, tensors
from service.protobuf.stubs import get_model_metadata_pb2, predict_pb2
from service.repository.image_index import ImageIndex
from service.repository.manifest import Manifest, read_labels
from service.repository.repository import Repository, check_regular
from service.repository.vocabulary import Merges, read_merges
from service.types import Tensors, is_model_name

_log = logging.getLogger(__name__)

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
_METADATA_TIMEOUT = 5.0  # seconds; metadata cost an upstream nothing
_SLOTS = 4  # batches at each replica: one computes, the others travel or wait there

_ERRORS: dict[StatusCode, type[errors.ServiceError]] = {
    StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    StatusCode.FAILED_PRECONDITION: errors.InvalidInput,
    StatusCode.OUT_OF_RANGE: errors.InvalidInput,
    StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    StatusCode.UNAVAILABLE: errors.NotReady,
    StatusCode.NOT_FOUND: errors.Unloaded,  # the registry had it
    StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}
_MESSAGES: dict[StatusCode, str] = {
    StatusCode.RESOURCE_EXHAUSTED: "the upstream is busy; ask again later",
    StatusCode.UNAVAILABLE: "no upstream could answer; ask again later",
    StatusCode.NOT_FOUND: "the upstream no longer has this version",
    StatusCode.DEADLINE_EXCEEDED: "the upstream did not answer in time",
}


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The upstreams and how to call them. `patience` and `hedge_after` (None: never) are in seconds, as in `Caller`.

    `tls_ca` is a file of certificates to trust; without one, calls are plain HTTP/2.
    """

    targets: Sequence[targets.Target]
    connections: int = 2
    patience: float = 10.0
    hedge_after: float | None = None
    tls_ca: Path | None = None

    def read_authorities(self) -> bytes | None:
        """PEM. Raises ValueError where `tls_ca` cannot be read, or holds no certificate."""
        if self.tls_ca is None:
            return None
        try:
            pem = self.tls_ca.read_bytes()
            ssl.create_default_context(cadata=pem.decode("ascii", "replace"))
        except OSError as error:
            why = error.strerror or str(error)
            raise ValueError(f"--target-tls-ca {self.tls_ca} cannot be read as certificates ({why})") from error
        return pem


class UpstreamRunner:
    """One version, on the replicas that have it at the moment."""

    def __init__(self, caller: Caller, name: str, version: int) -> None:
        self._caller, self._name, self._version = caller, name, version
        self._expected: dict[tuple[str, int], Expected] = defaultdict(Expected)
        """By signature and rows (to a power of two): such calls take equally long."""

    @property
    def slots(self) -> int:
        return _SLOTS * max(1, len(self._caller.replicas.find_having(self._name, self._version)))

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = self._name
        request.model_spec.version.value = self._version
        request.model_spec.signature_name = signature
        rows = 0
        for alias, array in inputs.items():
            tensors.fill_request(request.inputs[alias], array)
            rows = len(array) if array.ndim else 1
        message, expected = request.SerializeToString(), self._expected[signature, rows.bit_length()]
        with call_upstream(self._caller.replicas.name) as metadata:
            call = UpstreamCall(self._name, self._version, _PREDICT, message, metadata)
            try:
                data = await self._caller.call(call, timeout, expected)
            except CallFailed as failure:
                raise _convert_failure(failure) from failure
        try:
            reply = predict_pb2.PredictResponse.FromString(data)
            return {alias: tensors.to_array(alias, tensor) for alias, tensor in reply.outputs.items()}
        except (errors.InvalidInput, DecodeError) as error:  # the upstream's output, not the client's input
            raise errors.BackendFailed(f"an upstream answered with a tensor that cannot be read: {error}") from error

    async def close(self) -> None:
        """Does nothing: connections belong to the backend."""


class TFServingBackend:
    """Its versions are those that a healthy replica has AVAILABLE.

    Upstreams cannot list their models. A name is looked up once a client requests it, or from the start where
    `repository` has a folder of that name; its manifests (labels, preprocessing) then let the service decode images.
    """

    def __init__(
        self, upstreams: Upstreams, repository: Repository | None = None, resolve: Resolve = targets.resolve
    ) -> None:
        """Raises ValueError where `tls_ca` cannot be read."""
        self._repository = repository
        self._replicas = Replicas(upstreams.targets, upstreams.connections, upstreams.read_authorities(), resolve)
        self._survey = Survey(self._replicas)
        self._caller = Caller(self._replicas, upstreams.patience, upstreams.hedge_after)

    async def find(self) -> Found:
        await self._survey.start()
        self._survey.names |= await self._local_names()
        # Without any name, the query shows whether a replica answers.
        await self._query(sorted(self._survey.names) or [""])
        found = {name: dict.fromkeys(versions, "") for name, versions in self._survey.list_versions().items() if name}
        # A name that no upstream has is looked up again when a client requests it.
        self._survey.names &= found.keys()
        return found

    async def look_up(self, name: str) -> bool:
        if not is_model_name(name):
            return False
        await self._survey.start()
        await self._query([name])
        if name not in self._survey.list_versions():
            return False
        self._survey.names.add(name)
        return True

    async def _local_names(self) -> set[str]:
        if self._repository is None:
            return set()
        try:
            return set(await asyncio.to_thread(self._repository.scan))
        except errors.NotReady:  # the folder is a hint: without it the upstreams are still followed
            return set()

    async def _query(self, names: Sequence[str]) -> None:
        """Raises NotReady where no replica answers."""
        try:
            await self._survey.query(names)
        except CallFailed as failure:
            raise self._unreachable(failure) from failure

    def _unreachable(self, failure: CallFailed) -> errors.NotReady:
        if failure.lost or not failure.peer:
            message, for_log = "no upstream answers", f"nobody answers at {failure.peer or self._replicas.name}"
        else:
            message = f"the upstream answered {failure.status.name}"
            for_log = f"the upstream {failure.peer} answered {failure.status.name}"
        return errors.NotReady(
            f"{message}; the server's log says more",
            for_log=f"{for_log} ({failure.details}); is it up, and is --target right?",
        )

    async def load(self, name: str, version: int) -> Loaded:
        runner = UpstreamRunner(self._caller, name, version)
        if not self._replicas.find_having(name, version):
            await self.look_up(name)
        own = await asyncio.to_thread(self._read_own, name, version)
        if own is not None:
            manifest, index, merges = own
            unshared = row_probe.find_declared(manifest.signatures)
            return Loaded(manifest, runner, unshared=unshared, index=index, merges=merges)
        definitions = await self._definitions(name, version)
        labels = await asyncio.to_thread(self._own_labels, name, version)
        manifest = Manifest(
            name, version, signatures.from_protos(definitions), labels, definitions=signatures.serialize(definitions)
        )
        return Loaded(manifest, runner, unshared=await row_probe.probe_rows(runner, manifest.signatures))

    def _read_own(self, name: str, version: int) -> tuple[Manifest, ImageIndex | None, Merges] | None:
        if self._repository is None:
            return None
        try:
            check_regular(folder := self._repository.folder(name, version))
            manifest = Manifest.read(folder, name, version)
            return None if manifest is None else (manifest, ImageIndex.read(folder), read_merges(folder, manifest))
        except FileNotFoundError:
            return None
        except ValueError as error:  # the upstream serves it all the same
            _log.warning("%s; the upstream's own description of %s/%d is used instead", error, name, version)
            return None

    def _own_labels(self, name: str, version: int) -> tuple[str, ...]:
        if self._repository is None:
            return ()
        try:
            check_regular(folder := self._repository.folder(name, version))
        except (FileNotFoundError, ValueError):
            return ()
        return read_labels(folder)

    async def _definitions(self, name: str, version: int) -> dict[str, Any]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = name
        request.model_spec.version.value = version
        call = UpstreamCall(name, version, _METADATA, request.SerializeToString())
        try:
            data = await self._caller.call(call, _METADATA_TIMEOUT, Expected())
        except CallFailed as failure:  # a passing fault: the next `find` tries again
            raise self._unreachable(failure) from failure
        reply = get_model_metadata_pb2.GetModelMetadataResponse.FromString(data)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        reply.metadata["signature_def"].Unpack(definitions)
        return dict(definitions.signature_def)

    def report_replicas(self) -> list[ReplicaReport]:
        """The state of each replica, for the metrics."""
        return [
            ReplicaReport(
                replica.name,
                replica.standing.state is State.HEALTHY,
                replica.standing.outstanding,
                replica.standing.latency,
                **asdict(replica.tally),
            )
            for replica in self._replicas
        ]

    async def close(self) -> None:
        await self._survey.close()


def _convert_failure(failure: CallFailed) -> errors.ServiceError:
    """The error for clients names no address; a replica's message about the request or the model is passed on."""
    kind = _ERRORS.get(failure.status, errors.BackendFailed)
    for_log = f"{failure.peer or 'upstream'} answered {failure.status.name}: {failure.details}"
    if not failure.peer or issubclass(kind, errors.NotReady | errors.DeadlineExceeded):
        return kind(_MESSAGES.get(failure.status, "the upstream failed"), for_log=for_log)
    return kind(f"the upstream answered {failure.status.name}: {failure.details}", for_log=for_log)
