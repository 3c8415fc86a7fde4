"""A small real gRPC server in TensorFlow Serving's place that answers as it is told, and counts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from service.backends.tfserving import targets
from service.backends.tfserving.backend import TFServingBackend, Upstreams
from service.backends.tfserving.targets import Resolve
from service.protobuf import tensors as codec
from service.protobuf.stubs import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    meta_graph_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    types_pb2,
)
from service.types import Array

Answer = Callable[[Any, Any], Awaitable[Any]]
Behave = Callable[["Scripted", Any], Awaitable[None]]
"""Returns to let the call be answered, or ends it by the context it is given."""


class Scripted(model_service_pb2_grpc.ModelServiceServicer, prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # generated
    """y = x/2 + 2, of every version in `models`.

    `behave` comes before each answer; `codes` makes a model's status fail, `faults` counts failing metadata calls.
    """

    def __init__(self, behave: Behave | None = None) -> None:
        self.models: dict[str, set[int]] = {"m1": {1}}
        self.codes: dict[str, grpc.StatusCode] = {}
        self.faults = 0
        self.behave = behave
        self.answer: Answer = half_plus_two
        self.started = self.answered = self.cancelled = 0
        self.seen: list[int] = []
        self.port = 0
        self._server: Any = None

    async def start(self, address: str = "127.0.0.1:0") -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(address)
        await self._server.start()

    async def stop(self, grace: float | None = None) -> None:
        await self._server.stop(grace)

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        name = request.model_spec.name
        if name not in self.models:
            await context.abort(self.codes.get(name, grpc.StatusCode.NOT_FOUND), "no")
        reply = get_model_status_pb2.GetModelStatusResponse()
        for version in self.models[name]:
            reply.model_version_status.add(version=version, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE)
        return reply

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        if self.faults:
            self.faults -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "one moment")
        definitions = get_model_metadata_pb2.SignatureDefMap()
        signature = meta_graph_pb2.SignatureDef()
        signature.inputs["x"].dtype = signature.outputs["y"].dtype = types_pb2.DT_FLOAT
        definitions.signature_def["serving_default"].CopyFrom(signature)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.metadata["signature_def"].Pack(definitions)
        return reply

    async def Predict(self, request: Any, context: Any) -> Any:
        self.started += 1
        try:
            if self.behave is not None:
                await self.behave(self, context)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        version = request.model_spec.version.value
        if version not in self.models.get(request.model_spec.name, ()):
            await context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
        self.answered += 1
        self.seen.append(version)
        return await self.answer(request, context)


async def half_plus_two(request: Any, context: Any) -> Any:
    reply = predict_pb2.PredictResponse()
    reply.outputs["y"].CopyFrom(codec.to_proto(codec.to_array("x", request.inputs["x"]) / 2 + 2))
    return reply


def failing(code: grpc.StatusCode) -> Behave:
    async def behave(_: Scripted, context: Any) -> None:
        await context.abort(code, "as told")

    return behave


def slow(seconds: float) -> Behave:
    async def behave(_: Scripted, __: Any) -> None:
        await asyncio.sleep(seconds)

    return behave


@asynccontextmanager
async def serving(*servers: Scripted) -> AsyncIterator[None]:
    await asyncio.gather(*(server.start() for server in servers))
    try:
        yield
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


@asynccontextmanager
async def backend_of(
    *servers: Scripted,
    patience: float = 10.0,
    hedge_after: float | None = None,
    resolve: Resolve = targets.resolve,
    target: str = "",
) -> AsyncIterator[TFServingBackend]:
    """A backend in front of `servers`, which must have been started, or of `target`."""
    text = target or ",".join(f"127.0.0.1:{server.port}" for server in servers)
    upstreams = Upstreams(targets.parse(text), patience=patience, hedge_after=hedge_after)
    backend = TFServingBackend(upstreams, resolve=resolve)
    try:
        yield backend
    finally:
        await backend.close()


async def predict(runner: Any, x: Array, timeout: float | None = 10.0) -> Array:
    outputs: dict[str, Array] = await runner.run("serving_default", {"x": x}, (), timeout)
    return outputs["y"]
