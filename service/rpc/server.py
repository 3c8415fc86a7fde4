"""The gRPC server: TensorFlow Serving's services, the Open Inference Protocol's and grpc.health.v1 on one port."""

import asyncio
from collections.abc import Callable

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from service.access import Access
from service.gate import Gate
from service.predictor import Predictor
from service.rpc import oip, security
from service.rpc.keys import KeyCheck
from service.rpc.observing import Observing
from service.rpc.security import GrpcLimits
from service.rpc.tfserving import ModelService, PredictionService
from service.tls import Certificates
from service.wire.stubs import model_service_pb2_grpc, oip_pb2_grpc, prediction_service_pb2_grpc

_POLL = 0.1  # seconds
SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService", oip.SERVICE)


class GrpcServer:
    """Listens once started. Health says SERVING from then until `drain`."""

    def __init__(
        self,
        predictor: Predictor,
        access: Access,
        gate: Gate,
        address: str,
        limits: GrpcLimits,
        tls: Certificates | None = None,
        *,
        shared: bool,
    ) -> None:
        self._address, self._tls = address, tls
        self._server = grpc.aio.server(
            interceptors=[Observing(access), *([KeyCheck(gate)] if gate.needs_keys else [])],
            options=[
                *limits.options(),
                ("grpc.so_reuseport", int(shared)),  # a lottery among workers; a stranger there must be an error
            ],
        )
        self._health = health.HealthServicer()
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(predictor), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictor), self._server)
        oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(oip.InferenceService(predictor), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self) -> int:
        """The port it listens on. Raises OSError where it cannot."""
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(self._address)
            else:
                port = self._server.add_secure_port(self._address, security.credentials(self._tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: {error}") from error
        await self._server.start()
        await self._say(health_pb2.HealthCheckResponse.SERVING)
        return port

    async def drain(self) -> None:
        """Health says NOT_SERVING; calls are still answered."""
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace: float, busy: Callable[[], int]) -> None:
        """Refuses new calls, lets those under way finish for up to `grace` seconds.

        `busy` counts the predictions under way: once there are none, what is left are health watches,
        which clients keep open for ever, and they are ended.
        """
        stopping = asyncio.ensure_future(self._server.stop(grace))
        while not stopping.done():
            await asyncio.wait((stopping,), timeout=_POLL)
            if not busy():
                await self._server.stop(_POLL)  # a little for what was accepted but is not counted yet
        await stopping

    async def _say(self, status: int) -> None:
        for service in SERVICES:
            await self._health.set(service, status)
