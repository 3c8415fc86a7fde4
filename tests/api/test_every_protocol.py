"""One table of questions, asked through every protocol: the same answer, or the same error code."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from service.api.grpc import errors as rpc
from service.api.http import errors as rest
from service.api.tfserving import rest as tfserving
from service.errors import Code
from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from service.types import Array, strings
from tests.support.images import encode, photo, png_claiming
from tests.support.service_process import Service
from tests.support.testdata import needs_testdata

PHOTO = encode(photo(), "JPEG")
PIXELS = photo()[:28, :28]
NOT_HERE = 999


@dataclass(frozen=True)
class Case:
    """`inputs`: encoded images (bytes) or an array for `signature`. `says` is part of the error message."""

    inputs: list[bytes] | Array
    code: Code | None = None
    says: str = ""
    model: str = "lenet5"
    version: int | None = None
    signature: str = ""
    marks: list[pytest.MarkDecorator] = field(default_factory=list)

    @property
    def alias(self) -> str:
        if isinstance(self.inputs, list):
            return "image_bytes"
        if self.signature == "image_features":
            return "pixels"
        return "x" if self.model == "half_plus_two" else self.signature


@dataclass(frozen=True)
class Outcome:
    code: Code | None
    message: str
    version: int | None = None
    answers: Any = None  # the most probable label of each row, or the raw output


CASES = {
    "a photograph": Case([PHOTO]),
    "three images at once": Case([PHOTO, encode(PIXELS), encode(photo()[:, :, 0])]),
    "a version by number": Case([PHOTO], version=1),
    "pixels": Case(np.stack([PIXELS, PIXELS]), signature="image"),
    "the network's own input": Case(np.zeros((2, 28, 28, 1), np.float32), signature="tensor"),
    "features of a photograph": Case([PHOTO], signature="features"),
    "features of pixels": Case(np.stack([PIXELS, PIXELS]), signature="image_features"),
    "anybody's model": Case(np.asarray([[1], [2], [5]], np.float32), model="half_plus_two", marks=[needs_testdata]),
    "an unknown model": Case([PHOTO], Code.NOT_FOUND, "['", model="nobody"),
    "an unknown version": Case([PHOTO], Code.NOT_FOUND, "available versions: [1]", version=NOT_HERE),
    "an unknown signature": Case(
        np.zeros((1, 2), np.float32), Code.UNKNOWN_SIGNATURE, "serving_default", signature="nope"
    ),
    "an empty image": Case([b""], Code.INVALID_INPUT, "empty"),
    "text dressed as an image": Case([b"just some text"], Code.INVALID_INPUT, "no JPEG"),
    "half a JPEG": Case([PHOTO[: len(PHOTO) // 2]], Code.INVALID_INPUT, "whole"),
    "one bad image among good ones": Case([PHOTO, b"nonsense", PHOTO], Code.INVALID_INPUT, "no JPEG"),
    "a PNG that claims 60000x60000": Case([png_claiming(60_000, 60_000)], Code.TOO_LARGE, "pixels"),
    "fractions where pixels belong": Case(
        PIXELS[np.newaxis] / np.float32(255), Code.INVALID_INPUT, "uint8", signature="image"
    ),
    "the wrong size": Case(np.zeros((1, 29, 28, 3), np.uint8), Code.INVALID_INPUT, "[N, 28, 28, 3]", signature="image"),
    "the wrong rank": Case(np.zeros((28, 28, 3), np.uint8), Code.INVALID_INPUT, "[N, 28, 28, 3]", signature="image"),
    "text where a number belongs": Case(
        strings([b"one"]), Code.INVALID_INPUT, "float32", model="half_plus_two", marks=[needs_testdata]
    ),
    "no rows at all": Case(np.zeros((0, 28, 28, 3), np.uint8), Code.INVALID_INPUT, "", signature="image"),
}


def ask_http(service: Service, case: Case) -> Outcome:
    if isinstance(case.inputs, list):
        body: dict[str, Any] = {"instances": [{"b64": base64.b64encode(data).decode()} for data in case.inputs]}
    else:
        values = case.inputs.astype(str).tolist() if case.inputs.dtype == object else case.inputs.tolist()
        body = {"instances": values}
    if case.signature:
        body["signature_name"] = case.signature
    reply = httpx.post(
        f"{service.url}/predict/{case.model}",
        params={} if case.version is None else {"version": case.version},
        content=json.dumps(body),
        headers={"content-type": "application/json"},
        timeout=30,
    )
    document = reply.json()
    if reply.status_code != 200:
        error = document["error"]
        assert reply.status_code == rest.STATUS[Code(error["code"])]
        assert error["request_id"] == reply.headers["x-request-id"]
        return Outcome(Code(error["code"]), error["message"])
    if "outputs" in document:
        (answers,) = document["outputs"].values()
        answers = np.float32(answers).tolist()
    else:
        answers = [prediction["label"] for prediction in document["predictions"]]
    return Outcome(None, "", document["version"], answers)


def ask_tensorflow_servings_rest(service: Service, case: Case) -> Outcome:
    if isinstance(case.inputs, list):
        instances: Any = [{"b64": base64.b64encode(data).decode()} for data in case.inputs]
    else:
        instances = (case.inputs.astype(str) if case.inputs.dtype == object else case.inputs).tolist()
    which = "" if case.version is None else f"/versions/{case.version}"
    body = json.dumps({"instances": instances, "signature_name": case.signature})
    reply = httpx.post(f"{service.url}/v1/models/{case.model}{which}:predict", content=body, timeout=30)
    if reply.status_code != 200:
        codes = [code for code, status in tfserving.STATUS.items() if status == reply.status_code]
        return Outcome(case.code if case.code in codes else codes[0], reply.json()["error"])
    metadata = httpx.get(f"{service.url}/v1/models/{case.model}{which}/metadata", timeout=30).json()
    rows = reply.json()["predictions"]
    if case.signature == "features":
        rows = np.float32(rows).tolist()
    elif "probabilities" in str(metadata):
        scores = [row["probabilities"] if isinstance(row, dict) else row for row in rows]
        rows = [str(np.argmax(row)) for row in scores]
    return Outcome(None, "", int(metadata["model_spec"]["version"]), rows)


def ask_grpc(service: Service, case: Case) -> Outcome:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = case.model
    request.model_spec.signature_name = case.signature
    if case.version is not None:
        request.model_spec.version.value = case.version
    array = strings(case.inputs) if isinstance(case.inputs, list) else case.inputs
    codec.fill_request(request.inputs[case.alias], array)
    with service.channel() as channel:
        try:
            reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
        except grpc.RpcError as error:
            codes = [code for code, status in rpc.STATUS.items() if status is error.code()]
            wanted = case.code if case.code in codes else codes[0]
            return Outcome(wanted, error.details() or "")
    outputs = {alias: codec.to_array(alias, tensor) for alias, tensor in reply.outputs.items()}
    if "probabilities" in outputs:
        answers = [str(row.argmax()) for row in outputs["probabilities"]]
    else:
        (array,) = outputs.values()
        answers = array.tolist()
    return Outcome(None, "", reply.model_spec.version.value, answers)


def ask_oip(kind: Any, address: str, case: Case) -> Outcome:
    """Open Inference Protocol, with Triton's clients: `kind` is the module of one of them."""
    array = strings(case.inputs) if isinstance(case.inputs, list) else case.inputs
    tensor = kind.InferInput(case.alias, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    with kind.InferenceServerClient(address) as client:
        try:
            result = client.infer(
                case.model,
                [tensor],
                model_version="" if case.version is None else str(case.version),
                parameters={"signature_name": case.signature} if case.signature else None,
            )
        except InferenceServerException as error:
            said = str(error.status())
            codes = [code for code, status in rest.STATUS.items() if str(status) == said]
            codes += [code for code, status in rpc.STATUS.items() if str(status) == said]
            return Outcome(case.code if case.code in codes else codes[0], str(error.message()))
    probabilities = result.as_numpy("probabilities")
    if probabilities is None:
        answers = result.as_numpy("features" if case.signature == "features" else "y").tolist()
    else:
        answers = [str(row.argmax()) for row in probabilities]
    reply = result.get_response()
    version = reply["model_version"] if isinstance(reply, dict) else reply.model_version
    return Outcome(None, "", int(version), answers)


def ask_oip_http(service: Service, case: Case) -> Outcome:
    return ask_oip(tritonclient.http, f"127.0.0.1:{service.http_port}", case)


def ask_oip_grpc(service: Service, case: Case) -> Outcome:
    return ask_oip(tritonclient.grpc, f"127.0.0.1:{service.grpc_port}", case)


@pytest.mark.parametrize("case", [pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items()])
def test_every_protocol_gives_the_same_outcome(service: Service, case: Case) -> None:
    asks: dict[str, Callable[[Service, Case], Outcome]] = {
        "http": ask_http,
        "grpc": ask_grpc,
        "TensorFlow Serving's REST": ask_tensorflow_servings_rest,
        "Open Inference Protocol over HTTP": ask_oip_http,
        "Open Inference Protocol over gRPC": ask_oip_grpc,
    }
    outcomes = {name: ask(service, case) for name, ask in asks.items()}
    for name, outcome in outcomes.items():
        assert outcome.code == case.code, (name, outcome)
        assert case.says in outcome.message, (name, outcome)
        if case.code is None:
            assert outcome.version == (123 if case.model == "half_plus_two" else 1)
            assert outcome.answers == outcomes["http"].answers
