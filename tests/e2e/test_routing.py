"""Routes in a real service, over both protocols: splits, labels, substitutes, shadows, ensembles."""

import base64
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from service.protobuf import tensors as codec
from service.protobuf.stubs import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc
from service.types import Array, strings
from tests.support.service_process import Service, running

ROUTES = """
routes:
  digits: lenet5                      # an alias of the split below
  lenet5:
    split:
      - {target: lenet5@stable, weight: 75}
      - {target: lenet5@canary, weight: 25}
    labels: {stable: 1, canary: 2, beta: 9}
  watched:
    target: lenet5/1
    shadow: mobilenet_v3_small
  itself:
    target: lenet5/1
    shadow: lenet5/2
  safe:
    target: broken
    fallback: [gone, lenet5/2]
  both:
    ensemble:
      members:
        - {target: lenet5/1, weight: 3}
        - mobilenet_v3_small
  hasty: {target: lenet5/1, latency_slo_ms: 2}
  small: {target: lenet5/1, max_rows: 2}
"""


@pytest.fixture(scope="module")
def repository(demo_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of lenet5, a MobileNet, and a model whose only version is broken."""
    repository = tmp_path_factory.mktemp("routing") / "models"
    shutil.copytree(demo_repository, repository)
    shutil.copytree(repository / "lenet5" / "1", repository / "lenet5" / "2")
    shutil.copytree(repository / "lenet5" / "1", repository / "broken" / "1")
    (repository / "broken" / "1" / "model.tflite").write_bytes(b"no model")
    return repository


@pytest.fixture(scope="module")
def service(repository: Path) -> Iterator[Service]:
    path = repository.with_name("routes.yaml")
    path.write_text(ROUTES)
    with running("--repository", repository, "--routes", path) as service:
        service.wait_ready()
        yield service
        assert service.stop() == 0 and "Traceback" not in service.log()


@pytest.fixture(scope="module")
def digits(repository: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(repository.glob("lenet5/1/assets.extra/samples/*.png"))]


def post(service: Service, name: str, image: bytes, key: str = "") -> httpx.Response:
    return httpx.post(
        f"{service.url}/predict/{name}", content=image, headers={"x-routing-key": key} if key else {}, timeout=30
    )


def predict(
    service: Service, name: str, images: list[bytes], *, key: str = "", label: str = "", version: int | None = None
) -> tuple[Any, dict[str, str]]:
    """The gRPC reply and its trailing metadata."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if label:
        request.model_spec.version_label = label
    if version is not None:
        request.model_spec.version.value = version
    codec.fill_request(request.inputs["image_bytes"], strings(images))
    with service.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        reply, call = stub.Predict.with_call(request, timeout=30, metadata=[("x-routing-key", key)] if key else None)
    return reply, {key: str(value) for key, value in call.trailing_metadata()}


def probabilities(reply: Any) -> Array:
    return codec.to_array("probabilities", reply.outputs["probabilities"])


def test_a_split_is_sticky_and_the_same_over_both_protocols(service: Service, digits: list[bytes]) -> None:
    keys = [f"user-{n}" for n in range(60)]
    over_http = {}
    for key in keys:
        reply = post(service, "digits", digits[0], key)
        assert reply.status_code == 200 and reply.json()["model"] == "digits"
        over_http[key] = reply.json()["version"]
        assert reply.headers["x-served-by"] == f"lenet5/{over_http[key]}"
    assert set(over_http.values()) == {1, 2} and Counter(over_http.values())[1] > 30
    for key in keys:
        reply, metadata = predict(service, "digits", digits[:1], key=key)
        assert reply.model_spec.name == "digits" and reply.model_spec.version.value == over_http[key]
        assert metadata["x-served-by"] == f"lenet5/{over_http[key]}"
        assert metadata["x-request-id"], "what others say there stays"


def test_without_a_key_traffic_divides_by_weight(service: Service, digits: list[bytes]) -> None:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        found = Counter(client.post("/predict/lenet5", content=digits[0]).json()["version"] for _ in range(400))
    assert 60 <= found[2] <= 140, f"{found}: 100 of 400, give or take 4.6 standard deviations"


def test_labels_and_versions_are_that_one(service: Service, digits: list[bytes]) -> None:
    for label, version in (("stable", 1), ("canary", 2), ("float32", 2)):
        reply = httpx.post(f"{service.url}/predict/digits", params={"label": label}, content=digits[0])
        assert reply.json()["version"] == version, reply.text
        assert predict(service, "digits", digits[:1], label=label)[0].model_spec.version.value == version
    assert predict(service, "digits", digits[:1], version=1)[0].model_spec.version.value == 1
    for label, status, code in (("nope", 400, "INVALID_ARGUMENT"), ("beta", 404, "NOT_FOUND")):
        reply = httpx.post(f"{service.url}/predict/lenet5", params={"label": label}, content=digits[0])
        assert reply.status_code == status, reply.text
        with pytest.raises(grpc.RpcError) as refused:
            predict(service, "lenet5", digits[:1], label=label)
        assert refused.value.code().name == code
    assert "'canary', 'float32', 'stable'" in httpx.post(
        f"{service.url}/predict/digits", params={"label": "nope"}, content=digits[0]
    ).json()["error"]["message"].replace("'beta', ", "")


def test_metadata_and_status_of_a_route_are_its_models(service: Service) -> None:
    described = httpx.get(f"{service.url}/models/digits").json()
    assert described["manifest"]["name"] == "digits" and described["manifest"]["version"] == 1
    assert [version["version"] for version in described["versions"]] == [2, 1]
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "both"
    with service.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.GetModelMetadata(request, timeout=30).model_spec.name == "both"


def test_a_broken_target_has_a_substitute(service: Service, digits: list[bytes]) -> None:
    reply = post(service, "safe", digits[0])
    assert reply.status_code == 200 and reply.headers["x-served-by"] == "lenet5/2" and reply.json()["version"] == 2
    assert predict(service, "safe", digits[:1])[1]["x-served-by"] == "lenet5/2"
    assert sample(service, "model_server_route_fallbacks_total", route="safe", target="broken") == 2
    bad = post(service, "safe", b"no image")
    assert bad.status_code == 400 and sample(service, "model_server_route_fallbacks_total", target="lenet5/2") == 0


def test_an_ensemble_is_the_average_computed_by_hand(service: Service, digits: list[bytes]) -> None:
    lenet5 = probabilities(predict(service, "lenet5", digits, version=1)[0])
    mobilenet = probabilities(predict(service, "mobilenet_v3_small", digits)[0])
    reply, metadata = predict(service, "both", digits)
    np.testing.assert_allclose(probabilities(reply), (3 * lenet5 + mobilenet) / 4, atol=1e-6)
    assert np.abs(lenet5 - mobilenet).max() > 0.01, "the members differ, or this test shows nothing"
    assert metadata["x-served-by"] == "lenet5/1, mobilenet_v3_small/1"
    assert reply.model_spec.name == "both" and codec.to_array("", reply.outputs["classes"])[0][7] == b"7"
    best = post(service, "both", digits[0]).json()
    assert best["model"] == "both" and best["predictions"][0]["probability"] == pytest.approx(
        float(probabilities(reply)[0].max()), abs=1e-5
    )


def test_a_shadows_agreement_can_be_scraped(service: Service, digits: list[bytes]) -> None:
    mobilenet = probabilities(predict(service, "mobilenet_v3_small", digits)[0])
    lenet5 = probabilities(predict(service, "watched", digits)[0])
    same = post(service, "itself", digits[0])
    assert same.headers["x-served-by"] == "lenet5/1"
    agreed = int((lenet5.argmax(axis=1) == mobilenet.argmax(axis=1)).sum())
    compared = "model_server_shadow_calls_total"
    service.wait_until(lambda: sample(service, compared, route="watched", outcome="compared") == 1, 20)
    rows = "model_server_shadow_rows_total"
    assert sample(service, rows, route="watched", agreement="agreed") == agreed > 0
    assert sample(service, rows, route="watched", agreement="disagreed") == len(digits) - agreed
    difference = np.abs(lenet5.astype(np.float64) - mobilenet)
    for statistic, value in (("max", difference.max()), ("mean", difference.mean())):
        scraped = sample(service, "model_server_shadow_difference_sum", route="watched", statistic=statistic)
        assert scraped == pytest.approx(float(value), abs=1e-5)
    service.wait_until(lambda: sample(service, compared, route="itself", outcome="compared") == 1, 20)
    assert sample(service, "model_server_shadow_difference_sum", route="itself", statistic="max") == 0


def test_an_unknown_name_is_told_the_routes_too(service: Service, digits: list[bytes]) -> None:
    reply = post(service, "digitz", digits[0])
    assert reply.status_code == 404 and "'digits'" in reply.json()["error"]["message"]


def test_a_routes_deadline_is_that_of_a_client_without_one(service: Service, digits: list[bytes]) -> None:
    files = [("image", ("7.png", digits[0], "image/png"))] * 400
    late = httpx.post(f"{service.url}/predict/hasty", files=files, timeout=30)
    assert late.status_code == 504 and late.json()["error"]["code"] == "DEADLINE"
    patient = {"x-request-deadline-ms": "30000"}
    assert httpx.post(f"{service.url}/predict/hasty", files=files, headers=patient, timeout=30).status_code == 200


def test_limits_of_a_route(service: Service, digits: list[bytes]) -> None:
    assert len(predict(service, "small", digits[:2])[0].outputs["probabilities"].float_val) == 20
    with pytest.raises(grpc.RpcError, match="takes 2 rows"):
        predict(service, "small", digits[:3])


def test_the_page_of_routes_shows_what_is_there(service: Service, repository: Path) -> None:
    page = httpx.get(f"{service.url}/routes").json()
    assert page["file"] == str(repository.with_name("routes.yaml")) and page["error"] is None
    assert page["routes"]["lenet5"]["labels"] == {"stable": "lenet5/1", "canary": "lenet5/2", "beta": "lenet5/9"}
    assert page["targets"]["lenet5/2"] == "available" and page["targets"]["gone"].startswith("NOT_FOUND")
    assert "no model" in page["targets"]["broken"] or "failed" in page["targets"]["broken"]


def test_names_a_client_invents_are_no_labels_of_series(service: Service, digits: list[bytes]) -> None:
    httpx.post(f"{service.url}/predict/digits", params={"label": "invented"}, content=digits[0])
    httpx.post(f"{service.url}/predict/digits", params={"version": "4242"}, content=digits[0])
    page = httpx.get(f"{service.url}/metrics").text
    said = {value for labels in re.findall(r"{(.*)}", page) for value in re.findall(r'="([^"]*)"', labels)}
    assert "as asked" in said and not any("invented" in value or "4242" in value for value in said)


def sample(service: Service, name: str, **labels: str) -> float:
    """The sum of a series' samples that have these labels."""
    total = 0.0
    for line in httpx.get(f"{service.url}/metrics").text.splitlines():
        if match := re.fullmatch(rf"{name}{{(.*)}} (\S+)", line):
            have = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
            total += float(match[2]) if labels.items() <= have.items() else 0.0
    return total


def test_only_routes_hides_the_models(repository: Path, digits: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(json.dumps({"only_routes": True, "routes": {"digits": "lenet5"}}))  # JSON is YAML
    with running("--repository", repository, "--routes", path) as service:
        service.wait_ready()
        assert post(service, "digits", digits[0]).status_code == 200
        refused = post(service, "lenet5", digits[0])
        assert refused.status_code == 404 and "['digits']" in refused.json()["error"]["message"]
        assert httpx.get(f"{service.url}/models/lenet5").status_code == 404


def test_shadows_do_not_hold_up_the_end(repository: Path, digits: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("routes: {a: {target: lenet5/1, shadow: {target: mobilenet_v3_small, max_in_flight: 64}}}")
    with running("--repository", repository, "--routes", path) as service:
        service.wait_ready()
        for _ in range(4):
            predict(service, "a", digits * 60)
        started = time.monotonic()
        assert service.stop() == 0 and time.monotonic() - started < 5
        assert "Traceback" not in service.log() and "did not unload" not in service.log()


def test_tensorflow_servings_rest_clients_go_the_same_ways(service: Service, digits: list[bytes]) -> None:
    body = json.dumps({"instances": [{"b64": base64.b64encode(digits[0]).decode()}]})
    for path, served_by in (
        ("digits/labels/canary", "lenet5/2"),
        ("digits/versions/1", "lenet5/1"),
        ("safe", "lenet5/2"),
        ("both", "lenet5/1, mobilenet_v3_small/1"),
    ):
        reply = httpx.post(f"{service.url}/v1/models/{path}:predict", content=body, timeout=30)
        assert reply.status_code == 200 and reply.headers["x-served-by"] == served_by, reply.text
    assert httpx.post(f"{service.url}/v1/models/digits/labels/nope:predict", content=body).status_code == 400
    assert httpx.post(f"{service.url}/v1/models/digits/labels/beta:predict", content=body).status_code == 404
    states = httpx.get(f"{service.url}/v1/models/digits").json()["model_version_status"]
    assert [(state["version"], state["state"]) for state in states] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
