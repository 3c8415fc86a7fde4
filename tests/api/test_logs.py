"""What a service says of its requests: request ids in both protocols, JSON lines, the access log."""

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from service.observability import logs
from service.observability.context import begin_trace, renew_trace, set_trace
from service.protobuf import tensors as codec
from service.protobuf.stubs import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from service.security import api_keys as keys
from service.types import ModelRef, strings
from tests.support.service_process import Service, running
from tests.support.testdata import TESTDATA, with_half_plus_two

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
GENERATED = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(scope="module")
def talking(lenet5_repository: Path) -> Iterator[Service]:
    with running("--repository", lenet5_repository, "--log-format", "json", "--access-log") as service:
        service.wait_until(lambda: "ready, serving" in service.log())
        yield service


def events(service: Service) -> list[dict[str, Any]]:
    """Every line that is there whole; one that is no JSON fails."""
    return [json.loads(line) for line in service.log().rpartition("\n")[0].splitlines()]


def event(service: Service, request_id: str, logger: str = "service.observability.access_log") -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [one for one in events(service) if one.get("request_id") == request_id and one["logger"] == logger]

    service.wait_until(lambda: bool(found()), 10)
    (only,) = found()
    return only


def predict(samples: dict[str, bytes], name: str = "lenet5") -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([samples["7"]])))
    return request


def trailing(call: Any) -> dict[str, str]:
    return {pair[0]: pair[1] for pair in call.trailing_metadata() or ()}


def test_what_libraries_write_is_events_too(lenet5_repository: Path, tmp_path: Path) -> None:
    """LiteRT's delegate says that it is there, TensorFlow what processor it found."""
    repository = with_half_plus_two(lenet5_repository, tmp_path)
    with running("--repository", repository, "--log-format", "json") as service:
        service.wait_until(lambda: "ready, serving" in service.log())
        said = [one for one in events(service) if one["logger"] == "service.native"]
        assert any(one["level"] == "INFO" and "XNNPACK" in one["message"] for one in said), said
        assert TESTDATA is None or any("oneDNN" in one["message"] for one in said), said
        assert service.stop() == 0
        events(service)


def test_the_start_is_events_too(talking: Service) -> None:
    first = events(talking)[0]
    assert set(first) == {"time", "level", "logger", "message"} and first["level"] == "INFO"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["time"])


def test_an_http_request_is_one_line_and_no_payload(talking: Service, samples: dict[str, bytes]) -> None:
    headers = {"x-request-id": "http-1", "traceparent": TRACEPARENT, "authorization": "Bearer sesame"}
    reply = httpx.post(f"{talking.url}/predict/lenet5?top_k=1", content=samples["7"], headers=headers)
    said = event(talking, "http-1")
    assert said["status"] == "200" and said["protocol"] == "http" and said["trace_id"] == TRACE
    assert (said["model"], said["version"]) == ("lenet5", 1)
    assert said["received_bytes"] == len(samples["7"]) and said["sent_bytes"] == len(reply.content)
    assert (said["method"], said["path"]) == ("POST", "/predict/lenet5")
    assert 0 < said["duration_ms"] < 30_000 and said["message"].startswith("POST /predict/lenet5 200 ")
    assert "sesame" not in talking.log() and "top_k=1" not in talking.log() and "PNG" not in talking.log()


def test_a_refusal_is_logged_with_its_request(talking: Service) -> None:
    httpx.post(f"{talking.url}/predict/lenet5", content=b"top secret", headers={"x-request-id": "http-2"})
    assert event(talking, "http-2")["status"] == "400"
    failure = event(talking, "http-2", "service.observability.error_log")
    assert failure["model"] == "lenet5/1" and "INVALID_INPUT" in failure["message"]
    assert "top secret" not in talking.log()


def test_a_line_break_in_a_path_stays_in_its_line(talking: Service) -> None:
    httpx.get(f"{talking.url}/no%0Asuch", headers={"x-request-id": "http-3"})
    assert "/no%0Asuch 404" in event(talking, "http-3")["message"]


def test_grpc_calls_have_ids_and_lines_too(talking: Service, samples: dict[str, bytes]) -> None:
    metadata = (("x-request-id", "grpc-1"), ("traceparent", TRACEPARENT))
    request = predict(samples)
    with talking.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        reply, call = stub.Predict.with_call(request, timeout=30, metadata=metadata)
    assert trailing(call)["x-request-id"] == "grpc-1"
    said = event(talking, "grpc-1")
    assert said["status"] == "OK" and said["protocol"] == "grpc" and said["model"] == "lenet5"
    assert (said["method"], said["path"]) == ("Predict", "/tensorflow.serving.PredictionService/Predict")
    assert said["received_bytes"] == request.ByteSize() and said["sent_bytes"] == reply.ByteSize()
    assert said["trace_id"] == TRACE and "PredictionService/Predict OK" in said["message"]


def test_a_failed_grpc_call_has_its_id_too(talking: Service, samples: dict[str, bytes]) -> None:
    with talking.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(predict(samples, "nobody"), timeout=30, metadata=(("x-request-id", "grpc-2"),))
    assert trailing(refused.value)["x-request-id"] == "grpc-2"
    assert event(talking, "grpc-2")["status"] == "NOT_FOUND"


@pytest.mark.parametrize("given", ["", "two words", "x" * 129])
def test_an_id_is_made_where_none_will_do(talking: Service, samples: dict[str, bytes], given: str) -> None:
    made = httpx.post(
        f"{talking.url}/predict/lenet5", content=samples["7"], headers={"x-request-id": given} if given else {}
    ).headers["x-request-id"]
    assert GENERATED.fullmatch(made)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "lenet5"
    with talking.channel() as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        _, call = stub.GetModelStatus.with_call(
            request, timeout=30, metadata=(("x-request-id", given),) if given else ()
        )
    assert GENERATED.fullmatch(trailing(call)["x-request-id"])


def test_who_is_turned_away_is_logged_without_the_key(
    lenet5_repository: Path, samples: dict[str, bytes], tmp_path: Path
) -> None:
    secret, entry = keys.make("somebody")
    (tmp_path / "keys.yaml").write_text(entry)
    arguments = ("--repository", lenet5_repository, "--api-keys", tmp_path / "keys.yaml")
    with running(*arguments, "--log-format", "json", "--access-log") as service:
        service.wait_until(lambda: "ready, serving" in service.log())
        with service.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                metadata = (("x-request-id", "grpc-3"), ("x-api-key", "sesame"))
                stub.Predict(predict(samples), timeout=30, metadata=metadata)
            stub.Predict(predict(samples), timeout=30, metadata=(("x-request-id", "grpc-4"), ("x-api-key", secret)))
        assert trailing(refused.value)["x-request-id"] == "grpc-3"
        assert event(service, "grpc-3")["status"] == "UNAUTHENTICATED" and event(service, "grpc-4")["status"] == "OK"
        httpx.get(f"{service.url}/models", headers={"x-request-id": "http-4", "authorization": f"Bearer {secret}x"})
        assert event(service, "http-4")["status"] == "401"
        assert "sesame" not in service.log() and secret not in service.log()


def test_without_the_flag_there_is_no_access_log(service: Service, samples: dict[str, bytes]) -> None:
    assert httpx.post(f"{service.url}/predict/lenet5", content=samples["7"]).status_code == 200
    assert "service.observability.access_log" not in service.log() and " INFO    service: HTTP on port" in service.log()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--http-port", "x"], 2, "--http-port"),
        (["--no-such-flag"], 2, "--no-such-flag"),
        (["--routes", "/no/such/file"], 1, "/no/such/file"),
        (["--routes", "/no/such/file", "--workers", "2"], 1, "/no/such/file"),
    ],
)
def test_a_start_that_fails_is_events_too(arguments: list[str], code: int, says: str) -> None:
    with running("--log-format", "json", *arguments) as service:
        assert service.process.wait(60) == code
        last = events(service)[-1]
    assert last["level"] == "CRITICAL" and says in last["message"]


def test_what_grpc_and_python_print_is_events_or_nothing(talking: Service) -> None:
    """gRPC's C core has words of its own for clients that speak something else."""
    for port in (talking.grpc_port, talking.http_port):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
            wire.sendall(b"\x16\x03\x01\x00\x05hello" * 20)
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(65536):
                pass
    events(talking)


def test_tracebacks_that_nobody_caught_are_events() -> None:
    look = """
import sys, threading
from service.observability import logs
logs.configure("INFO", "json")
class Bad:
    def __del__(self): raise ValueError("in a destructor")
def fail(): raise ValueError("in a thread")
Bad()
thread = threading.Thread(target=fail); thread.start(); thread.join()
raise ValueError("at the end")
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60)
    stacks = [json.loads(line)["stack"] for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert [stack.splitlines()[-1].partition(": ")[2] for stack in stacks] == [
        "in a destructor",
        "in a thread",
        "at the end",
    ]


def test_a_stack_stays_in_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "it %s", ("failed\nhere",), sys.exc_info())
    request = begin_trace("http", "id-1", TRACEPARENT, "")
    request.ref = ModelRef("lenet5", 3)
    set_trace(request)
    line = logs.JsonFormatter(worker=1).format(record)
    said = json.loads(line)
    assert "\n" not in line and said["message"] == "it failed\nhere" and "ValueError: two\nlines" in said["stack"]
    assert (said["request_id"], said["trace_id"], said["model"], said["worker"]) == ("id-1", TRACE, "lenet5/3", 1)


def test_questions_in_one_request_are_told_apart() -> None:
    """A MultiInference asks several times; its request id and its client's trace are everybody's."""
    first = begin_trace("grpc", "id-1", TRACEPARENT, "")
    first.ref, first.answered = ModelRef("lenet5", 3), 1.0
    second = renew_trace(first)
    assert (second.request_id, second.trace_id) == ("id-1", TRACE)
    assert second.ref is None and second.answered is None and second.began >= first.began


@pytest.mark.parametrize(
    "given",
    ["", "nonsense", TRACEPARENT.upper(), f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01"],
)
def test_what_is_no_traceparent_is_left_out(given: str) -> None:
    trace = begin_trace("http", "", given, "state=1")
    assert trace.trace_id == "" and trace.tracestate == ""
