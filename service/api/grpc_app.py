"""The gRPC edge: TensorFlow Serving's services, the Open Inference Protocol's, health and reflection on one port."""

import asyncio
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha import reflection

from service.api.grpc.health import Health
from service.api.grpc.interceptor import CallSteps
from service.api.oip import grpc as oip
from service.api.tfserving.grpc import ModelService, PredictionService
from service.host.sockets import StartError
from service.observability.access_log import Access
from service.predictor import Predictor
from service.protobuf.stubs import model_service_pb2_grpc, oip_pb2_grpc, prediction_service_pb2_grpc
from service.security.authorizer import Gate
from service.security.tls import Certificates

SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService", oip.SERVICE)
_COMMON = (HEALTH, reflection.SERVICE_NAME)
_POLL = 0.1  # seconds between looks while stopping
_WINDOW_BYTES = 2**20  # taken ahead of a call: gRPC's own 64 KiB are less than one image's pixels
_IDLE_MS = 300_000  # without a call: channels connect again by themselves
_PING_MS = 10_000  # clients that ping an idle connection more often are sent away
_SILENCE_MS = 60_000  # after which we ping, so that clients that vanished are noticed
_NO_ANSWER_MS = 20_000


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """`metadata_bytes` a call, `streams` a connection, `connections` in all; a message is measured also once it is
    decompressed.
    """

    message_bytes: int
    metadata_bytes: int
    streams: int
    connections: int
    handshake_seconds: float

    def options(self) -> list[tuple[str, int]]:
        """As gRPC calls them."""
        return [
            ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
            ("grpc.http2.max_frame_size", _WINDOW_BYTES),
            ("grpc.max_receive_message_length", self.message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),  # else calls past the first are refused by chance
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.server_handshake_timeout_ms", int(self.handshake_seconds * 1000)),
            ("grpc.http2.min_ping_interval_without_data_ms", _PING_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", _SILENCE_MS),
            ("grpc.keepalive_timeout_ms", _NO_ANSWER_MS),
        ]


class GrpcServer:
    """Listens on `address`, beside other sockets of ours, once started."""

    def __init__(
        self,
        predictor: Predictor,
        access: Access,
        gate: Gate,
        address: str,
        limits: GrpcLimits,
        tls: Certificates | None = None,
    ) -> None:
        self._address, self._tls = address, tls
        self._steps = CallSteps(access, gate)
        options = [*limits.options(), ("grpc.so_reuseport", 1)]  # beside the reservation, and other workers' sockets
        self._server = grpc.aio.server(interceptors=[self._steps], options=options)
        self._health = Health(("", *SERVICES, *_COMMON), lambda: not predictor.find_trouble())
        self._following: asyncio.Task[None] | None = None
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(predictor), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictor), self._server)
        oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(oip.InferenceService(predictor), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, *_COMMON), self._server)

    async def start(self) -> int:
        """The port it listens on. Raises StartError."""
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(self._address)
            else:
                port = self._server.add_secure_port(self._address, _credentials(self._tls))
        except RuntimeError as error:
            raise StartError(f"cannot listen on {self._address}: {error}") from error
        await self._server.start()
        self._following = asyncio.create_task(self._health.follow())
        return port

    async def stop(self, grace: float) -> None:
        """Refuses new calls, lets those under way finish for up to `grace` seconds.

        Streams, which clients may keep open for ever, are ended once there are no other calls.
        """
        stopping = asyncio.ensure_future(self._server.stop(grace))
        while not stopping.done():
            await asyncio.wait((stopping,), timeout=_POLL)
            if not self._steps.under_way:
                await self._server.stop(_POLL)  # a little for what was accepted but is not counted yet
        await stopping
        if self._following is not None:
            self._following.cancel()


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Asked again at every handshake: certificates, keys and authorities may change while the server runs."""

    def in_force() -> grpc.ServerCertificateConfiguration:
        identity = certificates.identity
        return grpc.ssl_server_certificate_configuration(
            [(identity.key, identity.certificate)], root_certificates=identity.client_ca
        )

    required = certificates.identity.client_ca is not None
    return grpc.dynamic_ssl_server_credentials(in_force(), in_force, require_client_authentication=required)
