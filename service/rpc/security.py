"""The gRPC server's TLS, and what one client may take of it."""

from dataclasses import dataclass

import grpc

from service.tls import Certificates

_PING_INTERVAL = 10_000  # milliseconds: clients that ping an idle connection more often are sent away
_KEEP_ALIVE = 60_000  # milliseconds of silence after which we ping, so that clients that vanished are noticed
_KEEP_ALIVE_TIMEOUT = 20_000


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
        return [
            ("grpc.max_receive_message_length", self.message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),  # else calls past the first are refused by chance
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.max_allowed_incoming_connections", self.connections),
            ("grpc.server_handshake_timeout_ms", int(self.handshake_seconds * 1000)),
            ("grpc.http2.min_ping_interval_without_data_ms", _PING_INTERVAL),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", _KEEP_ALIVE),
            ("grpc.keepalive_timeout_ms", _KEEP_ALIVE_TIMEOUT),
        ]


def credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Asked again at every handshake: certificates, keys and authorities may change while the server runs."""

    def in_force() -> grpc.ServerCertificateConfiguration:
        identity = certificates.identity
        return grpc.ssl_server_certificate_configuration(
            [(identity.key, identity.certificate)], root_certificates=identity.client_ca
        )

    return grpc.dynamic_ssl_server_credentials(
        in_force(), in_force, require_client_authentication=certificates.identity.client_ca is not None
    )
