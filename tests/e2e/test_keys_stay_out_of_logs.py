"""Whatever a client does with its key, and however much is logged: no log has the key in it."""

import base64
import socket
import urllib.parse
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from service.security import api_keys as keys
from service.types import strings
from tests.support.service_process import Service, running


def _ways(secret: str) -> list[dict[str, str]]:
    """How a key is sent, well and badly."""
    return [
        {"authorization": f"Bearer {secret}"},
        {"authorization": secret},
        {"authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"},
        {"authorization": f"Bearer {secret} {secret}"},
        {"authorization": f"Bearer {secret[:-1]}"},
        {"x-api-key": secret},
        {"x-api-key": f"{secret},"},
        {"x-api-key": secret * 400},
        {"x-api-key": secret, "authorization": f"Bearer {secret}"},
        {"x-routing-key": secret, "x-api-key": secret},
    ]


def _ask_http(service: Service, headers: dict[str, str], digit: bytes) -> None:
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        for method, path, content in (
            ("POST", "/predict/lenet5", digit),
            ("POST", "/v1/models/lenet5:predict", b"{"),
            ("POST", "/v2/models/lenet5/infer", b"{"),
            ("GET", "/models", b""),
            ("BREW", "/nowhere", b""),
        ):
            assert client.request(method, path, content=content).status_code < 500
    client = tritonclient.http.InferenceServerClient(service.url.removeprefix("http://"))
    try:
        client.get_server_metadata(headers=headers)
    except InferenceServerException:
        pass
    finally:
        client.close()


def _ask_grpc(service: Service, headers: dict[str, str], digit: bytes) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "lenet5"
    request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([digit])))
    with service.channel() as channel:
        for model in ("lenet5", "nobody"):
            request.model_spec.name = model
            try:
                prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
                    request, metadata=tuple(headers.items()), timeout=30
                )
            except grpc.RpcError as error:
                assert error.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), error
    client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{service.grpc_port}")
    try:
        client.get_model_metadata("lenet5", headers=headers)
    except InferenceServerException:
        pass
    finally:
        client.close()


def _name_it(service: Service, secret: str, digit: bytes) -> None:
    """Where a model, a label or a question belongs."""
    with httpx.Client(base_url=service.url, headers={"x-api-key": secret}, timeout=30) as client:
        for name in (secret, secret.replace("_", "%5F", 1), f"a-{secret}", secret * 3):
            for path in (f"/predict/{name}", f"/v1/models/lenet5/labels/{name}:predict", f"/v2/models/{name}/infer"):
                assert client.post(path, content=digit).status_code < 500
            assert client.get(f"/models/lenet5?key={name}").status_code < 500
            assert client.get(f"/{'x' * 180}{name}").status_code < 500  # cut short in the access log
    request = predict_pb2.PredictRequest()
    request.model_spec.name = secret
    with service.channel() as channel, pytest.raises(grpc.RpcError):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(request, metadata=(("x-api-key", secret),), timeout=30)


def _send_malformed(service: Service, secret: str) -> None:
    """Heads that no HTTP server reads, on both ports."""
    for port in (service.http_port, service.grpc_port):
        for head in (
            f"GET /models HTTP/1.1\r\nX-API-Key {secret}\r\n\r\n",
            f"GET /models HTTP/1.1\r\nX-API-Key: {secret}\0\r\n\r\n",
            f"X-API-Key: {secret}\r\n\r\n",
            f"GET /models HTTP/1.1\r\nHost: a\r\nX-API-Key: {secret}\r\nContent-Length: x\r\n\r\n",
            f"POST /predict/a HTTP/1.1\r\nHost: a\r\nX-API-Key: {secret}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(head.encode())
                connection.settimeout(10)
                while _received(connection):
                    pass


def _received(connection: socket.socket) -> bytes:
    try:
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(2**16)
    except OSError:
        return b""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_log_has_a_key_in_it(lenet5_repository: Path, digit: bytes, tmp_path: Path, log_format: str) -> None:
    made: list[tuple[str, Any]] = [keys.make("in"), keys.make("cats", ["cats*"]), keys.make("out")]
    file = tmp_path / "keys.yaml"
    file.write_text("".join(entry for _, entry in made[:2]))
    flags = ("--log-level", "DEBUG", "--log-format", log_format, "--access-log", "--api-keys", file)
    with running("--repository", lenet5_repository, *flags, env={"PYTHONASYNCIODEBUG": "1"}) as service:
        service.wait_ready()
        for secret, _ in made:
            for headers in _ways(secret):
                _ask_http(service, headers, digit)
                _ask_grpc(service, headers, digit)
            _name_it(service, secret, digit)
            _send_malformed(service, secret)
        assert service.stop() == 0
        log = service.log()
    assert "401" in log and "UNAUTHENTICATED" in log, "nothing was logged of any of it"
    for secret, _ in made:
        core = secret.removeprefix(keys.PREFIX)
        for form in (core, urllib.parse.quote(core), base64.b64encode(secret.encode()).decode(), core[:20]):
            assert form not in log, next(line for line in log.splitlines() if form in line)[:500]
