"""Bodies that are small on the wire and mean to be much in memory, or long in time, against a real process.

Every reader of every API: the process stays within a stated multiple of the body limit, answers others meanwhile, and
refuses with a 4xx.
"""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from service.host import processes
from service.protobuf.stubs import (
    classification_pb2,
    inference_pb2,
    oip_pb2,
    oip_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    tensor_pb2,
    types_pb2,
)
from tests.support import procfs
from tests.support.service_process import Service, running

LIMIT = 4 * 2**20
MULTIPLE = 34  # docs/security.md
SECONDS = 20.0  # none of them hangs; how long each takes is for benchmarks


def filled(item: str) -> str:
    """`item`, as often as a list within the limit holds it."""
    return "[" + ",".join([item] * ((LIMIT - 200) // (len(item) + 1))) + "]"


VALUES: dict[str, Callable[[], str]] = {
    "a long text among numbers": lambda: json.dumps(["x" * 10_000, *[1] * 10_000]),
    "texts of two letters": lambda: filled('"ab"'),
    "texts that escape": lambda: filled(r'"\u00e9\n"'),
    "one text with wide letters": lambda: json.dumps(["\U0001f600" + "x" * (LIMIT - 500)], ensure_ascii=False),
    "numbers of a digit": lambda: filled("1"),
    "numbers of no float": lambda: filled("1e400"),
    "integers of 4,299 digits": lambda: filled("9" * 4299),
    "integers of 5,000 digits": lambda: filled("9" * 5000),
    "not a number": lambda: filled("NaN"),
    "fractions of a million digits": lambda: filled("0." + "1" * 10**6),
    "nulls": lambda: filled("null"),
    "truths and numbers": lambda: filled("true,1"),
    "empty lists": lambda: filled("[]"),
    "lists of one": lambda: filled("[0]"),
    "lists of three": lambda: filled("[1,2,3]"),
    "empty objects": lambda: filled("{}"),
    "objects of one": lambda: filled('{"":0}'),
    "wide objects": lambda: "[{" + ",".join(f'"{key}":0' for key in range(360_000)) + "}]",
    "a key many times": lambda: "[{" + ",".join(['"a":[]'] * 500_000) + "}]",
    "objects of base64": lambda: filled('{"b64":""}'),
    "lists 65 deep": lambda: "[" * 65 + "1" + "]" * 65,
    "lists 900 deep": lambda: "[" * 900 + "1" + "]" * 900,
    "lists 100,000 deep": lambda: "[" * 100_000 + "1" + "]" * 100_000,
    "objects 100,000 deep": lambda: '{"a":' * 100_000 + "1" + "}" * 100_000,
}
_EVERYWHERE = ("texts that escape", "wide objects")
_ALWAYS = (
    *("a long text among numbers", "texts of two letters", "integers of 4,299 digits"),
    *("not a number", "empty lists", "lists of three"),
    *("lists 65 deep", "lists 900 deep", "lists 100,000 deep"),
)
_ONE_OF_EACH = ("predict", "v1 rows", "v2 pixels")
BODIES: dict[str, tuple[str, str]] = {  # path, and what stands around the values
    "predict": ("/predict/lenet5", '{{"instances":{0}}}'),
    "v1 rows": ("/v1/models/lenet5:predict", '{{"instances":{0}}}'),
    "v1 pixels": ("/v1/models/lenet5:predict", '{{"signature_name":"image","inputs":{0}}}'),
    "v1 examples": ("/v1/models/lenet5:classify", '{{"examples":{0}}}'),
    "v1 context": ("/v1/models/lenet5:regress", '{{"examples":[{{}}],"context":{{"a":{0}}}}}'),
    "v1 unknown": ("/v1/models/nobody:predict", '{{"instances":{0}}}'),
    "v2 pixels": (
        "/v2/models/lenet5/infer",
        '{{"inputs":[{{"name":"image","shape":[1,28,28,3],"datatype":"UINT8","data":{0}}}]}}',
    ),
    "v2 texts": (
        "/v2/models/lenet5/infer",
        '{{"inputs":[{{"name":"image_bytes","shape":[1],"datatype":"BYTES","data":{0}}}]}}',
    ),
    "v2 inputs": ("/v2/models/lenet5/infer", '{{"inputs":{0}}}'),
    "v2 shape": (
        "/v2/models/lenet5/infer",
        '{{"inputs":[{{"name":"image","shape":{0},"datatype":"UINT8","data":[1]}}]}}',
    ),
    "v2 id": ("/v2/models/lenet5/infer", '{{"id":{0},"parameters":[]}}'),
    "v2 index": ("/v2/repository/index", '{{"ready":{0}}}'),
}


@pytest.fixture(scope="module")
def service(lenet5_repository: Path) -> Iterator[Service]:
    with running("--repository", lenet5_repository, "--max-body-bytes", LIMIT) as service:
        service.wait_ready()
        yield service
        assert "Traceback" not in service.log(), service.log()[-5000:]
        assert max(map(len, service.log().splitlines())) < 3000, "a client's text fills the log"
        assert service.stop() == 0


class Watched:
    """What a process does to its memory, in bytes, and to another client's slowest answer, in seconds, meanwhile."""

    def __init__(self, service: Service) -> None:
        self._service, self._pid = service, service.process.pid
        self._over = threading.Event()
        self.memory, self.slowest = 0, 0.0

    def __enter__(self) -> "Watched":
        procfs.restart_peak(self._pid)
        self._before = processes.resident_mb(self._pid)
        self._other = threading.Thread(target=self._ask)
        self._other.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._other.join()
        self.memory = int((processes.peak_mb(self._pid) - self._before) * 1e6)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=60) as client:
            while not self._over.wait(0.002):
                began = time.monotonic()
                assert client.get("/healthz").status_code == 200
                self.slowest = max(self.slowest, time.monotonic() - began)


_CASES = [pytest.param(name, _ONE_OF_EACH, id=f"{name}, one path of each API") for name in _ALWAYS]
_CASES += [pytest.param(name, BODIES, id=name, marks=pytest.mark.slow) for name in VALUES if name not in _EVERYWHERE]
_CASES += [pytest.param(name, BODIES, id=name) for name in _EVERYWHERE]


@pytest.mark.parametrize(("values", "apis"), _CASES)
def test_a_body_costs_a_multiple_of_its_limit_and_is_refused(
    service: Service, values: str, apis: Iterable[str]
) -> None:
    text = VALUES[values]()
    for api in apis:
        path, around = BODIES[api]
        body = gzip.compress(around.format(text).encode(), 1)
        with Watched(service) as watched:
            began = time.monotonic()
            answer = httpx.post(service.url + path, content=body, headers=_JSON, timeout=60)
            seconds = time.monotonic() - began
        said = f"{api}: {answer.status_code}, {watched.memory / LIMIT:.1f} times, {seconds:.2f} s, "
        said += f"another's slowest answer {watched.slowest:.2f} s; {answer.text[:300]}"
        print(said)
        assert 400 <= answer.status_code < 500, said
        assert len(answer.content) < 3000, said
        assert watched.memory < MULTIPLE * LIMIT, said
        assert seconds < SECONDS and watched.slowest < SECONDS / 2, said


_JSON = {"content-type": "application/json", "content-encoding": "gzip"}


def _two_values(sizes: list[int]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "lenet5", "image"
    tensor = request.inputs["image"]
    tensor.dtype = types_pb2.DT_UINT8
    tensor.int_val.extend([1, 2])
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    return request


def _contexts() -> classification_pb2.ClassificationRequest:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "lenet5"
    listed = request.input.example_list_with_context
    listed.context.features.feature["a"].bytes_list.value.append(b"x" * (LIMIT // 2))
    for _ in range(100_000):
        listed.examples.add()
    return request


def _values(signature: str, alias: str, **values: object) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "lenet5", signature
    kind = types_pb2.DT_STRING if "string_val" in values else types_pb2.DT_UINT8
    request.inputs[alias].CopyFrom(tensor_pb2.TensorProto(dtype=kind, **values))
    return request


def _empty_examples() -> classification_pb2.ClassificationRequest:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "lenet5"
    request.input.example_list.MergeFromString(b"\x0a\0" * 2_000_000)
    return request


def _empty_sizes() -> predict_pb2.PredictRequest:
    request = _values("image", "image")
    request.inputs["image"].tensor_shape.MergeFromString(b"\x12\0" * 2_000_000)
    return request


def _parsed(kind: Any, data: bytes) -> Any:
    return kind.FromString(data)


def _many_names(count: int = 200_000) -> predict_pb2.PredictRequest:
    request = _values("image", "image")
    for number in range(count):
        request.inputs[f"{number:x}"].dtype = types_pb2.DT_FLOAT
    return request


def _contents(datatype: str, shape: list[int]) -> oip_pb2.ModelInferRequest:
    request = oip_pb2.ModelInferRequest(model_name="lenet5")
    request.inputs.add(name="image", datatype=datatype, shape=shape).contents.uint_contents.append(1)
    return request


_NAMED = b"\x0a\6lenet5"
MESSAGES: dict[str, Callable[[], object]] = {
    "a shape of 300,000 huge sizes": lambda: _two_values([2**62] * 300_000),
    "a shape of 64 huge sizes": lambda: _two_values([2**62] * 64),
    "a shape of 65 ones": lambda: _two_values([1] * 65),
    "two values for 2^40": lambda: _two_values([2**40]),
    "two values for 2^20": lambda: _two_values([2**20]),
    "two million sizes of nothing": _empty_sizes,
    "four million numbers of a byte": lambda: _values("image", "image", int_val=[1] * 4_000_000),
    "a million texts of two letters": lambda: _values("", "image_bytes", string_val=[b"ab"] * 1_000_000),
    "two million examples of nothing": _empty_examples,
    "200,000 names": _many_names,
    "1,001 names": lambda: _many_names(1001),
    "two million tasks of nothing": lambda: _parsed(inference_pb2.MultiInferenceRequest, b"\x0a\0" * 2_000_000),
    "100,000 tasks of nothing": lambda: _parsed(inference_pb2.MultiInferenceRequest, b"\x0a\0" * 100_000),
    "two million inputs of nothing": lambda: _parsed(
        oip_pb2.ModelInferRequest, b"\x0a\6lenet5" + b"\x2a\0" * 2_000_000
    ),
    "100,000 inputs of nothing": lambda: _parsed(oip_pb2.ModelInferRequest, _NAMED + b"\x2a\0" * 100_000),
    "none of huge sizes": lambda: _two_values([2**62, 2**62, 0]),
    "a context before many examples": _contexts,
    "contents for 2^61": lambda: _contents("UINT8", [2**61]),
    "contents of 300,000 sizes": lambda: _contents("UINT8", [2**61] * 300_000),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_costs_a_multiple_of_its_limit_and_is_refused(service: Service, message: str) -> None:
    request = MESSAGES[message]()
    with service.channel() as channel:
        ask = _method(channel, request)
        with Watched(service) as watched, pytest.raises(grpc.RpcError) as refused:
            ask(request, timeout=30)
    details = refused.value.details() or ""
    said = f"{refused.value.code()}, {watched.memory / LIMIT:.1f} times; {details[:300]}"
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, said
    assert len(details) < 3000, said
    assert watched.memory < MULTIPLE * LIMIT and watched.slowest < SECONDS / 2, said


def _method(channel: grpc.Channel, request: Any) -> Callable[..., Any]:
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    methods: dict[Any, Callable[..., Any]] = {
        predict_pb2.PredictRequest: prediction.Predict,
        classification_pb2.ClassificationRequest: prediction.Classify,
        inference_pb2.MultiInferenceRequest: prediction.MultiInference,
        oip_pb2.ModelInferRequest: oip_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer,
    }
    return methods[type(request)]


def _broken_images(count: int) -> predict_pb2.PredictRequest:
    request = _values("", "image_bytes", string_val=[_BROKEN[: len(_BROKEN) // count]] * count)
    request.inputs["image_bytes"].tensor_shape.dim.add(size=count)
    return request


_BROKEN = b"\x89PNG\r\n\x1a\n" + bytes(LIMIT * 9 // 10)
REFUSED: dict[str, Callable[[], Any]] = {
    "before the tensor is read": lambda: _values("image", "image", int_val=[1] * 4_000_000),
    "for its names": lambda: _values("image", "other", int_val=[1] * 4_000_000),
    "once it is read": lambda: _shaped(4_000_000, int_val=[1] * 4_000_000),
    "for its image": lambda: _broken_images(1),
    "for one of its images": lambda: _broken_images(2),
}
AGAIN = 40


def _shaped(count: int, **values: object) -> predict_pb2.PredictRequest:
    request = _values("image", "image", **values)
    request.inputs["image"].tensor_shape.dim.add(size=count)
    return request


@pytest.mark.parametrize("why", REFUSED)
def test_refused_messages_do_not_stay(service: Service, why: str) -> None:
    request = REFUSED[why]()
    with service.channel() as channel, Watched(service) as watched:
        ask = _method(channel, request)
        for _ in range(AGAIN):
            with pytest.raises(grpc.RpcError) as refused:
                ask(request, timeout=30)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refused.value.details()
    assert watched.memory < MULTIPLE * LIMIT, f"{watched.memory / LIMIT:.1f} times"


def test_refused_images_do_not_stay_over_http(service: Service) -> None:
    with Watched(service) as watched:
        for _ in range(AGAIN):
            answer = httpx.post(f"{service.url}/predict/lenet5", content=_BROKEN, headers={"content-type": "image/png"})
            assert answer.status_code == 400, answer.text
    assert watched.memory < MULTIPLE * LIMIT, f"{watched.memory / LIMIT:.1f} times"
