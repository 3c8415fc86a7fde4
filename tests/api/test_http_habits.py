"""What clients, probes and scrapers expect of any HTTP service: HEAD, compressed pages, liveness at the root."""

import gzip

import httpx
import pytest

from tests.support.raw_http import connect, everything
from tests.support.replies import error_of
from tests.support.service_process import Service

PAGES = (
    *("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/monitoring/prometheus/metrics"),
    *("/models", "/models/lenet5", "/routes", "/v1/models/lenet5", "/v1/models/lenet5/metadata"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/lenet5", "/v2/models/lenet5/ready"),
    *("/page/page.js", "/models/lenet5/files", "/models/lenet5/samples/7-0.png", "/models/lenet5/report"),
    *("/v2/models/lenet5/config", "/v2/models/lenet5/versions/1/config", "/v2/models/stats"),
)


@pytest.mark.parametrize("path", PAGES)
def test_head_answers_wherever_get_does(client: httpx.Client, path: str) -> None:
    shown, head = client.get(path), client.head(path)
    assert shown.status_code == head.status_code == 200
    assert head.content == b"" and head.headers["content-type"] == shown.headers["content-type"]


def test_head_is_refused_where_get_is(client: httpx.Client) -> None:
    for path in ("/predict/lenet5", "/v2/models/lenet5/infer"):
        assert (client.get(path).status_code, client.head(path).status_code) == (405, 405)
    assert client.head("/models/nobody").status_code == client.head("/v1/models/nobody").status_code == 404


def test_a_method_that_a_path_does_not_take_is_refused_with_those_that_it_takes(client: httpx.Client) -> None:
    """Every path of the description, of every API, and every method that it has not."""
    values = {"model": "lenet5", "version": "1", "label": "float32", "name": "7-0.png"}
    described = {path: {*methods} for path, methods in client.get("/openapi.json").json()["paths"].items()}
    assert len(described) > 30
    for path, methods in described.items():
        taken = {method.upper() for method in methods} | ({"HEAD"} if "get" in methods else set())
        for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY"} - taken:
            reply = client.request(method, path.format(**values))
            assert reply.status_code == 405, (method, path)
            assert {*reply.headers["allow"].split(", ")} - {"OPTIONS"} == taken, (method, path)


def test_the_root_is_a_liveness_answer_and_for_browsers_a_page(client: httpx.Client) -> None:
    """KServe's first protocol asks `GET /`."""
    for accept in ("*/*", "application/json", ""):
        reply = client.get("/", headers={"accept": accept})
        assert (reply.status_code, reply.json()) == (200, {"status": "alive"})
    browser = client.get("/", headers={"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"})
    assert browser.status_code == 200 and browser.text.startswith("<!doctype html>")
    assert {"Accept"} <= set(reply.headers["vary"].split(", ")) & set(browser.headers["vary"].split(", "))


def test_large_pages_are_compressed_where_that_is_asked_for(client: httpx.Client) -> None:
    for path in ("/metrics", "/monitoring/prometheus/metrics", "/openapi.json"):
        plain = client.get(path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as reply:
            packed = b"".join(reply.iter_raw())
            assert reply.headers["content-encoding"] == "gzip" and "Accept-Encoding" in reply.headers["vary"]
        assert len(packed) < len(plain.content) / 3
        assert gzip.decompress(packed)[:20] == plain.content[:20]
        refused = client.get(path, headers={"accept-encoding": "gzip;q=0"})
        assert "content-encoding" not in refused.headers


def test_tensorflow_servings_path_of_metrics_is_an_alias(client: httpx.Client) -> None:
    reply = client.get("/monitoring/prometheus/metrics", headers={"accept": "application/openmetrics-text"})
    assert reply.headers["content-type"].startswith("application/openmetrics-text") and "# EOF" in reply.text


def test_a_misspelt_parameter_is_refused(client: httpx.Client, samples: dict[str, bytes]) -> None:
    error = error_of(client.post("/predict/lenet5?topk=1", content=samples["7"]), 400)
    assert error["code"] == "INVALID_INPUT"
    assert "top_k" in error["message"] and "'topk'" in error["message"]
    assert client.post("/predict/lenet5?top_k=1&version=1", content=samples["7"]).status_code == 200


def test_a_head_request_has_no_body_on_the_wire(service: Service) -> None:
    with connect(service) as wire:
        wire.sendall(b"HEAD /v1/models/lenet5 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        head, _, body = everything(wire).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and body == b""
