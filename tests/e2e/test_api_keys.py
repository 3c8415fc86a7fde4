"""API keys on both edges, with real keys in a real file."""

import base64
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import tritonclient.grpc
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException

from service.protobuf import tensors as codec
from service.protobuf.stubs import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from service.security import api_keys as keys
from service.types import strings
from tests.support.api_key_service import Guarded
from tests.support.service_process import running


def test_a_valid_key_is_answered_on_both_edges(guarded: Guarded) -> None:
    assert guarded.outcomes(guarded.all_models) == {grpc.StatusCode.OK}
    assert guarded.ask_http(guarded.all_models).json()["predictions"][0]["label"] == "7"
    reply = httpx.post(
        f"{guarded.service.url}/predict/lenet5", content=guarded.digit, headers={"X-API-Key": guarded.all_models}
    )
    assert reply.status_code == 200


@pytest.mark.parametrize("key", [None, "ims_wrong", "x" * 2000])
def test_a_missing_or_wrong_key_is_told_how_to_send_one(guarded: Guarded, key: str | None) -> None:
    before = guarded.service.metric('model_server_unauthenticated_total{protocol="http"}')
    reply = guarded.ask_http(key)
    assert reply.status_code == 401 and reply.headers["www-authenticate"].startswith("Bearer")
    error = reply.json()["error"]
    assert error["code"] == "UNAUTHENTICATED" and "Authorization: Bearer KEY" in error["message"]
    assert error["request_id"] == reply.headers["x-request-id"]
    assert guarded.service.metric('model_server_unauthenticated_total{protocol="http"}') == before + 1
    code, failure = guarded.ask_grpc(key)
    assert code is grpc.StatusCode.UNAUTHENTICATED and "Authorization: Bearer KEY" in failure.details()


def test_a_key_for_other_models_is_forbidden_whether_they_exist_or_not(guarded: Guarded) -> None:
    assert guarded.outcomes(guarded.cats_only) == {grpc.StatusCode.PERMISSION_DENIED}
    assert guarded.outcomes(guarded.cats_only, "no-such-model") == {grpc.StatusCode.PERMISSION_DENIED}
    reply = guarded.ask_http(guarded.cats_only)
    assert reply.json()["error"]["code"] == "FORBIDDEN" and "cats*" in reply.json()["error"]["message"]
    refused = 'model_server_requests_total{code="FORBIDDEN",model="",protocol="http",version=""}'
    assert guarded.service.metric(refused) >= 1


def test_a_key_is_told_of_its_own_models_only(guarded: Guarded) -> None:
    def listed(key: str) -> dict[str, Any]:
        reply = httpx.get(f"{guarded.service.url}/models", headers={"x-api-key": key})
        return dict(reply.json()["models"])

    assert listed(guarded.all_models) == {"lenet5": [1]} and listed(guarded.cats_only) == {}
    missing = guarded.ask_http(guarded.cats_only, "cats-v9")
    assert missing.status_code == 404 and "lenet5" not in missing.text
    assert "lenet5" in guarded.ask_http(guarded.all_models, "cats-v9").text


def test_what_tells_of_every_model_needs_a_key_for_all(guarded: Guarded) -> None:
    def routes(key: str) -> int:
        return httpx.get(f"{guarded.service.url}/routes", headers={"x-api-key": key}).status_code

    assert (routes(""), routes(guarded.cats_only), routes(guarded.all_models)) == (401, 403, 200)


def test_tensorflow_servings_clients_are_refused_in_their_own_shape(guarded: Guarded) -> None:
    refused = httpx.post(f"{guarded.service.url}/v1/models/lenet5:predict", json={"instances": []})
    assert refused.status_code == 401 and list(refused.json()) == ["error"]
    assert "X-API-Key" in refused.json()["error"] and refused.headers["www-authenticate"].startswith("Bearer")
    status = f"{guarded.service.url}/v1/models/lenet5"
    assert httpx.get(status, headers={"x-api-key": guarded.cats_only}).status_code == 403
    assert httpx.get(status, headers={"x-api-key": guarded.all_models}).status_code == 200


def test_reading_about_a_model_needs_a_key_too(guarded: Guarded) -> None:
    def described(key: str) -> int:
        return httpx.get(f"{guarded.service.url}/models/lenet5", headers={"x-api-key": key}).status_code

    assert (described(""), described(guarded.cats_only), described(guarded.all_models)) == (401, 403, 200)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "lenet5"
    with guarded.service.channel() as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        assert stub.GetModelStatus(request, metadata=(("authorization", f"Bearer {guarded.all_models}"),), timeout=30)
        for metadata, code in (((), "UNAUTHENTICATED"), ((("x-api-key", guarded.cats_only),), "PERMISSION_DENIED")):
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetModelStatus(request, metadata=metadata, timeout=30)
            assert refused.value.code().name == code


@pytest.mark.parametrize("path", ["/models/lenet5/files", "/models/lenet5/samples/7-0.png", "/models/lenet5/report"])
def test_what_the_page_shows_of_a_model_needs_a_key(guarded: Guarded, path: str) -> None:
    def shown(key: str) -> int:
        return httpx.get(f"{guarded.service.url}{path}", headers={"x-api-key": key}).status_code

    assert (shown(""), shown(guarded.cats_only), shown(guarded.all_models)) == (401, 403, 200)


def test_a_prediction_that_shows_what_the_model_sees_costs_one(guarded: Guarded) -> None:
    def see(key: str, body: bytes = guarded.digit) -> httpx.Response:
        url, headers = f"{guarded.service.url}/predict/lenet5?seen=true", {"x-api-key": key}
        return httpx.post(url, content=body, headers=headers, timeout=30)

    assert (see("").status_code, see(guarded.cats_only).status_code) == (401, 403)
    secret, entry = keys.make("seeing", rate=0.01, burst=2)
    with_another = guarded.file.read_text()
    guarded.file.write_text(with_another + entry)
    try:
        guarded.service.wait_until(lambda: see(secret, b"no image").status_code != 401)
        assert see(secret).json()["seen"], "the second of two: what is no image was charged too"
        refused = see(secret)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 1
    finally:
        guarded.file.write_text(with_another)


@pytest.mark.parametrize(
    "path", ["/", "/page/page.js", "/page/page.css", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"]
)
def test_operators_pages_stay_open(guarded: Guarded, path: str) -> None:
    assert httpx.get(guarded.service.url + path).status_code == 200


def test_open_pages_name_no_models_and_docs_take_a_key(guarded: Guarded) -> None:
    assert httpx.get(f"{guarded.service.url}/readyz").json() == {"status": "ready", "models": {}}
    described = httpx.get(f"{guarded.service.url}/openapi.json").json()
    assert described["security"] == [{"API key": []}]  # the page's "Authorize" button
    assert described["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/models", "/models/", "/metrics/", "//healthz", "/healthz/../models", "/v1/models/lenet5", "/v2"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_every_other_route_is_closed_those_that_do_not_exist_too(guarded: Guarded, method: str, path: str) -> None:
    with httpx.Client() as client:  # as it stands: httpx would resolve the dots
        reply = client.send(httpx.Request(method, httpx.URL(guarded.service.url).copy_with(raw_path=path.encode())))
    assert reply.status_code == 401


def test_unknown_methods_of_grpc_are_closed_and_health_is_open(guarded: Guarded) -> None:
    with guarded.service.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        call: Any = channel.unary_unary("/no.such.Service/Method")
        for metadata, code in (((), "UNAUTHENTICATED"), ((("x-api-key", guarded.all_models),), "UNIMPLEMENTED")):
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", metadata=metadata, timeout=30)
            assert refused.value.code().name == code


def test_a_refusal_comes_before_the_body_is_read(guarded: Guarded) -> None:
    with guarded.service.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\xff" * 30_000_000, timeout=30)  # type: ignore[arg-type]  # bytes, which grpc takes as they are
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with socket.create_connection(("127.0.0.1", guarded.service.http_port), timeout=10) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n\r\n")
        assert wire.recv(100).startswith(b"HTTP/1.1 401")  # of the body there is nothing yet


def test_keys_are_in_no_log(guarded: Guarded) -> None:
    guarded.ask_http("ims_not-to-be-logged")
    assert "ims_" not in guarded.service.log()


def test_metrics_may_need_a_key(lenet5_repository: Path, tmp_path: Path) -> None:
    secret, entry = keys.make("prometheus", ["nothing"])
    (tmp_path / "keys.yaml").write_text(entry)
    arguments = ("--repository", lenet5_repository, "--api-keys", tmp_path / "keys.yaml", "--no-open-metrics")
    with running(*arguments) as service:
        service.wait_ready()
        assert httpx.get(f"{service.url}/metrics").status_code == 401
        assert httpx.get(f"{service.url}/metrics", headers={"authorization": f"Bearer {secret}"}).status_code == 200


@pytest.mark.parametrize("kind", [tritonclient.http, tritonclient.grpc])
def test_tritons_clients_send_keys_as_headers(guarded: Guarded, kind: Any) -> None:
    port = guarded.service.http_port if kind is tritonclient.http else guarded.service.grpc_port
    image = kind.InferInput("image_bytes", [1], "BYTES").set_data_from_numpy(strings([guarded.digit]))
    with kind.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live() and client.is_server_ready(), "without a key"
        for key, refusal in ((None, "401|UNAUTHENTICATED"), (guarded.cats_only, "403|PERMISSION_DENIED")):
            headers = {} if key is None else {"x-api-key": key}
            with pytest.raises(InferenceServerException, match=refusal):
                client.infer("lenet5", [image], headers=headers)
        headers = {"authorization": f"Bearer {guarded.all_models}"}
        assert client.infer("lenet5", [image], headers=headers).as_numpy("probabilities").argmax() == 7
        assert "lenet5" in str(client.get_model_repository_index(headers=headers))
        assert "lenet5" not in str(client.get_model_repository_index(headers={"x-api-key": guarded.cats_only}))


def test_routes_are_shown_to_keys_that_open_them(lenet5_repository: Path, tmp_path: Path) -> None:
    made = [keys.make("all"), keys.make("cats", ["cats*"])]
    (tmp_path / "keys.yaml").write_text("".join(entry for _, entry in made))
    (tmp_path / "routes.yaml").write_text("routes:\n  cats-live: {target: lenet5}\n  secret-plan: {target: lenet5}\n")
    arguments = ("--api-keys", tmp_path / "keys.yaml", "--routes", tmp_path / "routes.yaml")
    with running("--repository", lenet5_repository, *arguments) as service:
        service.wait_ready()

        def told(key: str, name: str) -> str:
            return httpx.post(f"{service.url}/predict/{name}", content=b"x", headers={"x-api-key": key}).text

        assert "cats-live" in told(made[1][0], "cats-none") and "secret-plan" not in told(made[1][0], "cats-none")
        assert "secret-plan" in told(made[0][0], "cats-none")
        assert "FORBIDDEN" in told(made[1][0], "lenet5"), "a route's name opens the route, not the model behind it"


def test_an_alias_keeps_what_is_behind_it_from_who_may_not_know_it(lenet5_repository: Path, tmp_path: Path) -> None:
    """Whatever is asked about it, over every protocol: answers, pages and errors speak of the name asked for."""
    secret, repository = "hidden-net", tmp_path / "models"
    shutil.copytree(lenet5_repository / "lenet5" / "1", repository / secret / "1")
    shutil.copytree(lenet5_repository / "lenet5" / "1", repository / secret / "2")
    (repository / secret / "2" / "model.tflite").write_bytes(b"broken")
    made = [keys.make("all"), keys.make("cats", ["cats*"])]
    (tmp_path / "keys.yaml").write_text("".join(entry for _, entry in made))
    (tmp_path / "routes.yaml").write_text(
        f"routes:\n  cats: {{target: middle-route}}\n  middle-route: {{target: {secret}, max_rows: 1}}\n"
        f"  cats-both: {{split: [{{target: {secret}}}, {{target: other-net}}]}}\n"
    )
    digit = (repository / secret / "1" / "assets.extra" / "samples" / "7-0.png").read_bytes()
    two = {"instances": [{"b64": base64.b64encode(digit).decode()}] * 2}
    with running(
        *("--repository", repository, "--api-keys", tmp_path / "keys.yaml", "--routes", tmp_path / "routes.yaml")
    ) as service:
        service.wait_ready()

        def said(key: str) -> Iterator[str]:
            with httpx.Client(base_url=service.url, headers={"x-api-key": key}, timeout=30) as client:
                for name in ("cats", "cats-both"):
                    for question in ("", "?version=2", "?version=9", "?label=nope", "?signature=nope"):
                        yield _whole(client.post(f"/predict/{name}{question}", content=digit))
                        yield _whole(client.get(f"/models/{name}{question}"))
                    for part in ("", "/metadata", "/versions/9", "/versions/9/metadata", "/labels/nope/metadata"):
                        yield _whole(client.get(f"/v1/models/{name}{part}"))
                    for part in ("", "/versions/9", "/labels/nope"):
                        yield _whole(client.post(f"/v1/models/{name}{part}:predict", json=two))
                    for part in ("", "/versions/9", "/versions/nope", "/ready", "/versions/2/ready"):
                        yield _whole(client.get(f"/v2/models/{name}{part}"))
                for page in ("/models", "/readyz"):
                    yield _whole(client.get(page))
                yield _whole(client.post("/v2/repository/index"))
            metadata = (("x-api-key", key),)
            with service.channel() as channel:
                prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                status = model_service_pb2_grpc.ModelServiceStub(channel)
                for version in (None, 9):
                    spec = model_pb2.ModelSpec(name="cats")
                    if version is not None:
                        spec.version.value = version
                    ask = predict_pb2.PredictRequest(model_spec=spec)
                    ask.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([digit])))
                    described = get_model_metadata_pb2.GetModelMetadataRequest(
                        model_spec=spec, metadata_field=["signature_def"]
                    )
                    for call, request in (
                        (prediction.Predict, ask),
                        (prediction.GetModelMetadata, described),
                        (status.GetModelStatus, get_model_status_pb2.GetModelStatusRequest(model_spec=spec)),
                    ):
                        try:
                            reply, done = call.with_call(request, metadata=metadata, timeout=30)
                            yield f"{reply} {done.trailing_metadata()}"
                        except grpc.RpcError as error:
                            yield f"{error.details()} {error.trailing_metadata()}"

        for text in said(made[1][0]):
            for name in (secret, "middle-route", "other-net"):
                assert name not in text, text
        assert sum(secret in text for text in said(made[0][0])) > 10, "who may know it is told"


def _whole(reply: httpx.Response) -> str:
    return f"{reply.request.method} {reply.request.url}: {reply.status_code} {dict(reply.headers)} {reply.text}"
