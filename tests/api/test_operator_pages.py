"""What operators look at: health, models, metrics, documentation."""

import re

import httpx

from tests.support.replies import error_of
from tests.support.service_process import Service, read_metric


def test_operators_pages(client: httpx.Client, samples: dict[str, bytes]) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json()["models"]["lenet5"] == [1]
    assert client.get("/models").json()["models"]["lenet5"] == [1]
    assert "not UTF-8 ?" in client.get("/models").json()["passed_over"]
    described = client.get("/models/lenet5").json()
    assert described["versions"] == [{"version": 1, "state": "AVAILABLE", "error": ""}]
    assert described["manifest"]["labels"] == list("0123456789")
    error_of(client.get("/models/nobody"), 404)


def test_metrics_count_what_happened(client: httpx.Client, samples: dict[str, bytes]) -> None:
    def value(series: str) -> float:
        return read_metric(client.get("/metrics").text, series)

    ok = 'model_server_requests_total{code="OK",model="lenet5",protocol="http",version="1"}'
    bad = 'model_server_requests_total{code="INVALID_INPUT",model="lenet5",protocol="http",version="1"}'
    compute = 'model_server_stage_seconds_count{model="lenet5",stage="compute",version="1"}'
    rows = 'model_server_batch_rows_sum{model="lenet5",version="1"}'
    before = [value(series) for series in (ok, bad, compute, rows)]
    client.post("/predict/lenet5", content=samples["0"])
    client.post("/predict/lenet5", content=b"nonsense")
    client.post("/predict/invented-by-a-client", content=samples["0"])
    assert [value(series) for series in (ok, bad, compute, rows)] == [
        before[0] + 1,
        before[1] + 1,
        before[2] + 1,
        before[3] + 1,
    ]
    page = client.get("/metrics").text
    assert "invented-by-a-client" not in page
    assert 'model_server_version_state{model="lenet5",state="AVAILABLE",version="1"} 1.0' in page
    assert 'model_server_version_failed{model="lenet5",version="1"} 0.0' in page
    assert 'model_server_queue_rows{model="lenet5",version="1"} 0.0' in page
    assert "model_server_ready 1.0" in page


def test_docs_need_no_network(service: Service, client: httpx.Client) -> None:
    page = client.get("/docs").text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets and all(asset.startswith("/") for asset in assets), assets
    for asset in assets:
        assert client.get(asset).status_code == 200, asset
    schema = client.get("/openapi.json").json()
    assert "/v1" in schema["info"]["description"], "what the page does not list, it names"
    assert {method for methods in schema["paths"].values() for method in methods} == {"get", "post"}
    described = schema["paths"]["/predict/{model}"]["post"]
    assert "UserWarning" not in service.log(), "nobody who reads the page fills the log"
    assert set(described["responses"]) == {"200", "default"}, "errors have our shape, not FastAPI's 422"
    assert set(described["requestBody"]["content"]) >= {"image/jpeg", "image/png", "application/json"}


def test_probes_may_use_head(client: httpx.Client) -> None:
    assert client.head("/healthz").status_code == client.head("/readyz").status_code == 200


def test_refusals_of_every_kind_are_counted(client: httpx.Client) -> None:
    def counted(model: str, version: str, code: str) -> float:
        series = f'model_server_requests_total{{code="{code}",model="{model}",protocol="http",version="{version}"}}'
        return read_metric(client.get("/metrics").text, series)

    before = counted("", "", "NOT_FOUND"), counted("lenet5", "1", "INVALID_INPUT")
    client.post("/predict/nobody", content=b"x")
    client.post("/predict/lenet5", content=b"{", headers={"content-type": "application/json"})
    assert (counted("", "", "NOT_FOUND"), counted("lenet5", "1", "INVALID_INPUT")) == (before[0] + 1, before[1] + 1)
