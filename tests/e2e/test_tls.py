"""TLS and mTLS on both edges: real handshakes, and certificates that change while requests are answered."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from service.types import strings
from tests.e2e.test_arguments_and_ports import failing
from tests.support.certificates import Authority, Pair
from tests.support.service_process import Service, running

AUTHORITY, STRANGER = Authority("test authority"), Authority("a stranger")
CLIENT, STRANGE_CLIENT = AUTHORITY.signs("a client"), STRANGER.signs("a client too")


@dataclass(frozen=True)
class Secured:
    service: Service
    folder: Path
    digit: bytes

    def context(self, client: Pair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
        if client is not None:
            context.load_cert_chain(*client.write(self.folder, "client"))
        return context

    def ask_http(self, client: Pair | None = None) -> str:
        url = f"https://127.0.0.1:{self.service.http_port}/predict/lenet5"
        reply = httpx.post(url, content=self.digit, verify=self.context(client), timeout=30)
        return str(reply.json()["predictions"][0]["label"])

    def channel(self, client: Pair | None = None) -> grpc.Channel:
        secrets = (None, None) if client is None else (client.key, client.certificate)
        credentials = grpc.ssl_channel_credentials(AUTHORITY.pem, *secrets)
        own = [("grpc.use_local_subchannel_pool", 1)]  # a handshake of its own
        return grpc.secure_channel(f"127.0.0.1:{self.service.grpc_port}", credentials, options=own)

    def ask_grpc(self, client: Pair | None = None) -> str:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "lenet5"
        request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([self.digit])))
        with self.channel(client) as channel:
            reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
        return str(codec.to_array("probabilities", reply.outputs["probabilities"])[0].argmax())

    def presents(self, port: int, client: Pair | None = None) -> str:
        """The name in the certificate that a server shows."""
        context = self.context(client)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as wire,
            context.wrap_socket(wire, server_hostname="localhost") as tls,
        ):
            shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).subject.rfc4514_string().removeprefix("CN=")

    def wait_ready(self, client: Pair | None = None) -> None:
        context = self.context(client)
        url = f"https://127.0.0.1:{self.service.http_port}/readyz"
        self.service.wait_until(lambda: httpx.get(url, verify=context).status_code == 200)


@pytest.fixture
def tls(lenet5_repository: Path, tmp_path: Path, digit: bytes) -> Iterator[Secured]:
    certificate, key = AUTHORITY.signs("first").write(tmp_path, "server")
    with running("--repository", lenet5_repository, "--tls-cert", certificate, "--tls-key", key) as service:
        secured = Secured(service, tmp_path, digit)
        secured.wait_ready()
        yield secured
        assert "Traceback" not in service.log()


@pytest.fixture
def mutual(lenet5_repository: Path, tmp_path: Path, digit: bytes) -> Iterator[Secured]:
    certificate, key = AUTHORITY.signs("first").write(tmp_path, "server")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(AUTHORITY.pem)
    arguments = ("--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", ca)
    with running("--repository", lenet5_repository, *arguments) as service:
        secured = Secured(service, tmp_path, digit)
        secured.wait_ready(CLIENT)
        yield secured
        assert "Traceback" not in service.log()


def test_both_edges_answer_over_todays_versions_of_tls_and_only_so(tls: Secured) -> None:
    assert tls.ask_http() == tls.ask_grpc() == "7"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = tls.context()
        context.minimum_version = context.maximum_version = version
        assert httpx.get(f"https://127.0.0.1:{tls.service.http_port}/healthz", verify=context).status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(tls.service.url)  # plain
    with tls.service.channel() as plain, pytest.raises(grpc.RpcError):
        health_pb2_grpc.HealthStub(plain).Check(health_pb2.HealthCheckRequest(), timeout=3)
    assert tls.service.stop() == 0


def test_new_certificates_are_shown_without_a_restart_and_no_request_is_lost(tls: Secured) -> None:
    stop, lost, answered = threading.Event(), list[str](), list[str]()

    def traffic() -> None:
        while not stop.is_set():
            try:
                answered.extend((tls.ask_http(), tls.ask_grpc()))
            except (httpx.HTTPError, grpc.RpcError) as error:
                lost.append(repr(error))

    ports = tls.service.http_port, tls.service.grpc_port
    assert {tls.presents(port) for port in ports} == {"first"}
    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        certificate, key = tls.folder / "server.pem", tls.folder / "server-key.pem"
        second = AUTHORITY.signs("second")
        certificate.write_bytes(second.certificate)  # a key that does not fit, for longer than two looks
        tls.service.wait_until(lambda: "does not belong to the certificate" in tls.service.log(), 10)
        assert {tls.presents(port) for port in ports} == {"first"}
        key.write_bytes(second.key)
        tls.service.wait_until(lambda: {tls.presents(port) for port in ports} == {"second"}, 10)
        key.write_bytes(second.key[:100])  # half written
        time.sleep(1.5)
        assert {tls.presents(port) for port in ports} == {"second"}
    finally:
        stop.set()
        thread.join()
    assert not lost and set(answered) == {"7"} and len(answered) > 4


def test_client_certificates_are_asked_for_and_looked_at(mutual: Secured) -> None:
    assert mutual.ask_http(CLIENT) == mutual.ask_grpc(CLIENT) == "7"
    for client in (None, STRANGE_CLIENT):
        with pytest.raises(httpx.TransportError):
            mutual.ask_http(client)
        with mutual.channel(client) as channel, pytest.raises(grpc.RpcError) as refused:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_an_authority_can_be_taken_away(mutual: Secured) -> None:
    """What one TLS context of Python's ssl cannot do."""
    mutual.folder.joinpath("ca.pem").write_bytes(STRANGER.pem)

    def lets_in(client: Pair) -> tuple[bool, bool]:
        def tried(ask: object) -> bool:
            try:
                return callable(ask) and ask(client) == "7"
            except (httpx.TransportError, grpc.RpcError):
                return False

        return tried(mutual.ask_http), tried(mutual.ask_grpc)

    mutual.service.wait_until(lambda: lets_in(STRANGE_CLIENT) == (True, True), 15)
    assert lets_in(CLIENT) == (False, False)


def test_wrong_files_end_the_start_in_one_line(tmp_path: Path) -> None:
    """Of each kind of file one: the units of each have the others."""
    certificate, key = (str(path) for path in AUTHORITY.signs("one").write(tmp_path, "one"))
    _, other = AUTHORITY.signs("two").write(tmp_path, "two")
    (tmp_path / "text").write_text("no certificate")
    ports = ("--http-port", "0", "--grpc-port", "0", "--host", "127.0.0.1")
    for arguments, says in (
        (("--tls-cert", certificate, "--tls-key", str(other)), "does not belong"),
        (("--tls-cert", str(tmp_path / "nothing"), "--tls-key", key), "cannot be read"),
        (("--api-keys", str(tmp_path / "text")), "YAML list"),
    ):
        code, error = failing(*ports, *arguments)
        assert code == 1 and says in error.splitlines()[-1] and "Traceback" not in error, (arguments, error)


def test_a_handshake_that_never_comes_is_given_up(lenet5_repository: Path, tmp_path: Path) -> None:
    certificate, key = AUTHORITY.signs("first").write(tmp_path, "server")
    arguments = ("--tls-cert", certificate, "--tls-key", key, "--header-timeout-seconds", 1)
    with running("--repository", lenet5_repository, *arguments) as service:
        started = time.monotonic()
        for port in (service.http_port, service.grpc_port):
            with socket.create_connection(("127.0.0.1", port), timeout=15) as wire:
                wire.sendall(b"\x16\x03\x01")
                while wire.recv(100):
                    pass
        assert time.monotonic() - started < 12
