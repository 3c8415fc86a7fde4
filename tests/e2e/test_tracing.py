"""Traces through two real processes into a real collector, and collectors that are slow or gone."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from tests.e2e.test_upstream import gateway_arguments
from tests.support.images import encode, photo
from tests.support.otlp_collector import Collector, collecting, hanging
from tests.support.service_process import Service, running

PHOTO = encode(photo(), "JPEG")
CLIENT = "00f067aa0ba902b7"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}  # milliseconds


@pytest.fixture(scope="module")
def traced(lenet5_repository: Path) -> Iterator[tuple[Service, Collector]]:
    """A gateway in front of an upstream, each with traces on in one of the two ways."""
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        by_variable = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "upstream"}
        upstream = stack.enter_context(running("--repository", lenet5_repository, env=QUICK | by_variable))
        upstream.wait_ready()
        arguments = gateway_arguments(upstream, lenet5_repository)
        gateway = stack.enter_context(running(*arguments, "--otlp-endpoint", collector.url, env=QUICK))
        gateway.wait_ready()
        yield gateway, collector


def trace_id(turn: int) -> str:
    return f"{turn:032x}"


def post(service: Service, trace: str, flags: str = "01", path: str = "lenet5", body: bytes = PHOTO) -> httpx.Response:
    headers = {"traceparent": f"00-{trace}-{CLIENT}-{flags}", "x-request-id": f"id-{trace}"}
    return httpx.post(f"{service.url}/predict/{path}", content=body, headers=headers, timeout=30)


def test_both_hops_are_one_trace(traced: tuple[Service, Collector]) -> None:
    gateway, collector = traced
    trace = trace_id(1)
    assert post(gateway, trace).status_code == 200
    gateway.wait_until(lambda: all("predict" in collector.of(s, trace) for s in ("image-model-server", "upstream")), 20)
    ours, theirs = collector.of("image-model-server", trace), collector.of("upstream", trace)
    assert set(ours) >= {"predict", "read", "decode", "queue", "compute", "upstream"}
    assert set(theirs) >= {"predict", "queue", "compute"}
    assert ours["predict"].parent == CLIENT and ours["predict"].kind == Span.SPAN_KIND_SERVER
    for stage in set(ours) - {"predict"}:
        assert ours[stage].parent == ours["predict"].id, stage
        assert ours[stage].began <= ours[stage].ended
        assert ours[stage].ended - ours[stage].began <= ours["predict"].ended - ours["predict"].began
    assert ours["upstream"].kind == Span.SPAN_KIND_CLIENT
    assert theirs["predict"].parent == ours["upstream"].id and theirs["predict"].kind == Span.SPAN_KIND_SERVER
    assert theirs["compute"].parent == theirs["predict"].id
    for span in (ours["predict"], theirs["predict"]):
        assert span.attributes["request.id"] == f"id-{trace}"
        assert (span.attributes["model"], span.attributes["model.version"]) == ("lenet5", "1")
    assert ours["predict"].attributes.items() >= {
        ("http.request.method", "POST"),
        ("url.scheme", "http"),
        ("url.path", "/predict/lenet5"),
        ("http.response.status_code", "200"),
    }
    rpc = {("rpc.system", "grpc"), ("rpc.service", "tensorflow.serving.PredictionService"), ("rpc.method", "Predict")}
    assert ours["upstream"].attributes.items() >= rpc
    assert theirs["predict"].attributes.items() >= rpc | {("rpc.grpc.status_code", "0")}
    assert ours["predict"].attributes["protocol"] == "http" and theirs["predict"].attributes["protocol"] == "grpc"


def test_grpc_metadata_continues_a_trace(traced: tuple[Service, Collector]) -> None:
    gateway, collector = traced
    trace = trace_id(2)
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "lenet5", "image"
    codec.fill_request(request.inputs["image"], photo()[np.newaxis, :28, :28])
    with gateway.channel() as channel:
        metadata = (("traceparent", f"00-{trace}-{CLIENT}-01"),)
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30, metadata=metadata)
    gateway.wait_until(lambda: "predict" in collector.of("image-model-server", trace), 20)
    assert collector.of("image-model-server", trace)["predict"].parent == CLIENT


def test_a_failure_is_an_error_in_its_trace(traced: tuple[Service, Collector]) -> None:
    gateway, collector = traced
    trace = trace_id(3)
    assert post(gateway, trace, body=b"nonsense").status_code == 400
    gateway.wait_until(lambda: "predict" in collector.of("image-model-server", trace), 20)
    span = collector.of("image-model-server", trace)["predict"]
    assert not span.error and "error.type" not in span.attributes, "the client is to blame, not this server"
    assert span.attributes["http.response.status_code"] == "400" and span.attributes["code"] == "INVALID_INPUT"


def test_a_servers_own_error_is_one_in_its_trace(traced: tuple[Service, Collector]) -> None:
    gateway, collector = traced
    trace = trace_id(8)
    headers = {"traceparent": f"00-{trace}-{CLIENT}-01", "x-request-deadline-ms": "0.001"}
    assert httpx.post(f"{gateway.url}/predict/lenet5", content=PHOTO, headers=headers, timeout=30).status_code == 504
    gateway.wait_until(lambda: "predict" in collector.of("image-model-server", trace), 20)
    span = collector.of("image-model-server", trace)["predict"]
    assert span.error and span.attributes["error.type"] == "DEADLINE"
    assert span.attributes["http.response.status_code"] == "504"


def test_what_the_client_does_not_sample_is_not_sent(traced: tuple[Service, Collector]) -> None:
    gateway, collector = traced
    assert post(gateway, trace_id(4), flags="00").status_code == 200
    assert post(gateway, trace_id(5)).status_code == 200
    gateway.wait_until(lambda: "predict" in collector.of("upstream", trace_id(5)), 20)
    assert not any(span.trace == trace_id(4) for span in collector.spans)


def test_a_request_without_a_trace_starts_one(traced: tuple[Service, Collector]) -> None:
    gateway, collector = traced
    headers = {"x-request-id": "lonely"}
    assert httpx.post(f"{gateway.url}/predict/lenet5", content=PHOTO, headers=headers, timeout=30).status_code == 200

    def mine() -> set[tuple[str, str]]:
        return {(s.service, s.trace) for s in collector.spans if s.attributes.get("request.id") == "lonely"}

    gateway.wait_until(lambda: len(mine()) == 2, 20)
    assert len({trace for _, trace in mine()}) == 1


def test_exemplars_lead_from_metrics_to_traces(traced: tuple[Service, Collector]) -> None:
    gateway, _ = traced
    assert post(gateway, trace_id(6)).status_code == 200
    page = httpx.get(f"{gateway.url}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert page.headers["content-type"].startswith("application/openmetrics-text")
    assert re.search(rf'stage="total".*# {{trace_id="{trace_id(6)}"}}', page.text) and page.text.endswith("# EOF\n")
    assert trace_id(4) not in page.text, "its trace was not sampled"
    plain = httpx.get(f"{gateway.url}/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4") and "trace_id" not in plain.text


@pytest.mark.slow
@pytest.mark.parametrize("collector", ["gone", "hanging"])
def test_a_bad_collector_holds_up_nothing(lenet5_repository: Path, collector: str) -> None:
    with ExitStack() as stack:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        if collector == "hanging":
            url = stack.enter_context(hanging())
        service = stack.enter_context(running("--repository", lenet5_repository, "--otlp-endpoint", url, env=QUICK))
        service.wait_ready()
        with httpx.Client(base_url=service.url, timeout=30) as client:
            for turn in range(400):  # more spans than the queue holds
                began = time.monotonic()
                assert client.post("/predict/lenet5", content=PHOTO).status_code == 200
                assert time.monotonic() - began < 5, turn
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 10
        assert "Traceback" not in service.log() and len(service.log()) < 100_000


def test_ids_go_upstream_without_traces_too(lenet5_repository: Path, tmp_path: Path) -> None:
    with running("--repository", lenet5_repository, "--access-log", "--log-format", "json") as upstream:
        upstream.wait_ready()
        with running(*gateway_arguments(upstream, tmp_path)) as gateway:
            gateway.wait_ready()
            assert post(gateway, trace_id(7)).status_code == 200
        asked = f'"id-{trace_id(7)}"'  # of the call itself, and of the probe that its model needed first
        upstream.wait_until(lambda: asked in upstream.log(), 10)
        lines = [json.loads(line) for line in upstream.log().splitlines() if "Predict OK" in line]
        assert [line["trace_id"] for line in lines if line["request_id"] == f"id-{trace_id(7)}"][-1] == trace_id(7)


def test_the_sdk_is_not_imported_while_traces_are_off() -> None:
    """FastAPI itself imports the API, which does nothing."""
    look = """
import asyncio, sys
from service.server import lifecycle
from service.server.app import build
from service.settings import Settings
async def main():
    assert build(Settings()).tracing is None
asyncio.run(main())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "env", "code", "says"),
    [
        (["--otlp-endpoint", "collector:4317"], {}, 2, "--otlp-endpoint"),
        (["--otlp-endpoint", "http://x"], {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, 1, "http/protobuf"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_the_start(
    arguments: list[str], env: dict[str, str], code: int, says: str, tmp_path: Path
) -> None:
    with running("--repository", tmp_path, *arguments, env=env) as service:
        assert service.process.wait(30) == code
        assert says in service.log() and "Traceback" not in service.log()
