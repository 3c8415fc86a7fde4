"""A real photograph, asked of pretrained networks through every protocol: EfficientNet-Lite0 in float32 and in int8."""

import base64
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from export.data import photographs
from export.progress import Stage
from export.quantize import evaluate
from service.protobuf import tensors
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from service.repository.manifest import TFLITE, Manifest
from service.types import strings
from tests.support.exporter import export
from tests.support.service_process import Service, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # two exports, before the first test

COFFEE = (resources.files("skimage.data") / "coffee.png").read_bytes()
FORMS = {"float32": (), "int8": ("--quantize", "int8")}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`float32/1` and `int8/1`, both EfficientNet-Lite0 with ImageNet's weights."""
    folder = tmp_path_factory.mktemp("photographs")
    for name, quantize in FORMS.items():
        arguments = ("--model", "efficientnet_lite0", "--weights", "imagenet", "--name", name, *quantize)
        export(*arguments, "--repository", folder)
    return folder


@pytest.fixture(scope="module")
def service(repository: Path) -> Iterator[Service]:
    with running("--repository", repository) as service:
        service.wait_ready()
        yield service


def ask_predict(service: Service, model: str) -> str:
    reply = httpx.post(f"{service.url}/predict/{model}", content=COFFEE, headers={"Content-Type": "image/png"})
    return str(reply.json()["predictions"][0]["label"])


def ask_v1(service: Service, model: str) -> str:
    body = {"instances": [{"b64": base64.b64encode(COFFEE).decode()}]}
    (row,) = httpx.post(f"{service.url}/v1/models/{model}:predict", json=body).json()["predictions"]
    return str(row["classes"][int(np.argmax(row["probabilities"]))])


def ask_prediction_service(service: Service, model: str) -> str:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["image_bytes"].CopyFrom(tensors.to_proto(strings([COFFEE])))
    with service.channel() as channel:
        reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    best = int(tensors.to_array("probabilities", reply.outputs["probabilities"])[0].argmax())
    return bytes(tensors.to_array("classes", reply.outputs["classes"])[0][best]).decode()


def ask_v2(client: Any, service: Service, model: str) -> str:
    tensor = client.InferInput("image_bytes", [1], "BYTES")
    tensor.set_data_from_numpy(strings([COFFEE]))
    best = client.InferRequestedOutput("probabilities", class_count=1)
    port = service.http_port if client is tritonclient.http else service.grpc_port
    with client.InferenceServerClient(f"127.0.0.1:{port}") as connection:
        reply = connection.infer(model, [tensor], outputs=[best])
    return str(reply.as_numpy("probabilities")[0, 0].decode().split(":")[2])


ASK: dict[str, Callable[[Service, str], str]] = {
    "predict": ask_predict,
    "v1": ask_v1,
    "v2": lambda service, model: ask_v2(tritonclient.http, service, model),
    "PredictionService": ask_prediction_service,
    "GRPCInferenceService": lambda service, model: ask_v2(tritonclient.grpc, service, model),
}


@pytest.mark.parametrize("model", FORMS)
@pytest.mark.parametrize("protocol", ASK)
def test_a_cup_of_coffee_is_espresso(service: Service, protocol: str, model: str) -> None:
    assert ASK[protocol](service, model) == "espresso"


def test_int8_names_what_float32_names(repository: Path) -> None:
    made = Manifest.read(repository / "int8" / "1", "int8", 1)
    assert made is not None
    assert made.precision in ("int8", "mixed")
    assert (made.facts["accuracy"], made.facts["published_accuracy"]["top1"]) == (None, 0.751)
    images = photographs.load("", made.labels, 224, Stage("test", lambda text: None)).held_out.images
    assert len(images) >= 300
    float32, int8 = (
        evaluate.answers((repository / name / "1" / TFLITE).read_bytes(), images).argmax(-1) for name in FORMS
    )
    agreement = float((float32 == int8).mean())
    assert agreement >= 0.9
    (row,) = (each for each in made.facts["quantization"]["candidates"] if each["verdict"] == "published")
    assert row["agreement_with_float32"] == pytest.approx(agreement, abs=0.01)
    assert row["accuracy"] is row["worst_class"] is None
