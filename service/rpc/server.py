"""The gRPC edge: TensorFlow Serving's services, the Open Inference Protocol's and grpc.health.v1 on one port."""

import asyncio
import socket
from collections.abc import Callable

from grpc_health.v1 import health_pb2_grpc

from service import ports
from service.access import Access
from service.gate import Gate
from service.predictor import Predictor
from service.rpc import oip
from service.rpc.health import Health
from service.rpc.steps import CallSteps
from service.rpc.tfserving import ModelService, PredictionService
from service.rpc.transport.server import GrpcLimits, Server
from service.tls import Certificates
from service.wire.stubs import model_service_pb2_grpc, oip_pb2_grpc, prediction_service_pb2_grpc

SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService", oip.SERVICE)


class GrpcServer:
    """Listens on `listener` once started. `refused` is told why connections are ended for what their clients did."""

    def __init__(
        self,
        predictor: Predictor,
        access: Access,
        gate: Gate,
        listener: socket.socket,
        limits: GrpcLimits,
        refused: Callable[[str], None],
        tls: Certificates | None = None,
    ) -> None:
        self._listener = listener
        self._server = Server(CallSteps(access, gate), limits, refused, tls.speaking("h2") if tls else None)
        self._health = Health(SERVICES, lambda: not predictor.trouble)
        self._following: asyncio.Task[None] | None = None
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(predictor), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictor), self._server)
        oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(oip.InferenceService(predictor), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self) -> int:
        """The port it listens on. Raises StartError."""
        ports.listen(self._listener)
        await self._server.start(self._listener)
        self._following = asyncio.create_task(self._health.follow())
        return int(self._listener.getsockname()[1])

    async def stop(self, grace: float) -> None:
        """Refuses new calls, lets those under way finish for up to `grace` seconds."""
        await self._server.stop(grace)
        if self._following is not None:
            self._following.cancel()
