"""The same image however it is written, and whatever its request calls it: each API takes what people send."""

import base64
import json
from collections.abc import Callable

import grpc
import httpx
import pytest

from service.protobuf import tensors as codec
from service.protobuf.stubs import oip_pb2, oip_pb2_grpc, predict_pb2, prediction_service_pb2_grpc
from service.types import strings
from tests.support.service_process import Service

SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "as it is": lambda raw: base64.b64encode(raw).decode(),
    "broken into lines": lambda raw: base64.encodebytes(raw).decode(),
    "without padding": lambda raw: base64.b64encode(raw).decode().rstrip("="),
    "url-safe": lambda raw: base64.urlsafe_b64encode(raw).decode(),
    "a data: URL": lambda raw: f"data:image/png;base64,{base64.b64encode(raw).decode()}",
}


def oip_input(data: object, **parameters: str) -> dict[str, object]:
    image = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [data], "parameters": parameters}
    return {"inputs": [image]}


ASKS: dict[str, Callable[[str], tuple[str, object]]] = {
    "predict": lambda text: ("/predict/lenet5", {"instances": [{"b64": text}]}),
    "v1 rows": lambda text: ("/v1/models/lenet5:predict", {"instances": [{"b64": text}]}),
    "v1 columns": lambda text: ("/v1/models/lenet5:predict", {"inputs": {"image_bytes": [{"b64": text}]}}),
    "v2 parameter": lambda text: ("/v2/models/lenet5/infer", oip_input(text, content_type="base64")),
    "v2 object": lambda text: ("/v2/models/lenet5/infer", oip_input({"b64": text})),
}


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_base64_is_the_same_image(
    client: httpx.Client, samples: dict[str, bytes], spelling: str, ask: str
) -> None:
    path, body = ASKS[ask](SPELLINGS[spelling](samples["7"] + b"\0"))  # a length that needs padding, one way or another
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    plain_path, plain = ASKS[ask](SPELLINGS["as it is"](samples["7"]))
    assert reply.json() == client.post(plain_path, json=plain).json()


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(("text", "says"), [("a!", "position 1"), ("abcde", "breaks off")])
def test_what_is_no_base64_is_said_the_same_way(client: httpx.Client, ask: str, text: str, says: str) -> None:
    path, body = ASKS[ask](text)
    reply = client.post(path, json=body)
    assert reply.status_code == 400 and "b64 is not base64" in reply.text and says in reply.text


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_base64_where_an_image_belongs_points_to_b64(
    client: httpx.Client, samples: dict[str, bytes], spelling: str
) -> None:
    text = SPELLINGS[spelling](samples["7"])
    for path, body in (
        ("/predict/lenet5", {"instances": [text]}),
        ("/v1/models/lenet5:predict", {"instances": [text]}),
        ("/v1/models/lenet5:predict", {"inputs": [text]}),
        ("/v2/models/lenet5/infer", oip_input(text)),
    ):
        reply = client.post(path, json=body)
        assert reply.status_code == 400 and '{"b64": "' in reply.text.replace("\\", ""), reply.text
    reply = client.post("/predict/lenet5", content=text.encode(), headers={"content-type": "image/png"})
    assert reply.status_code == 400 and "looks like base64" in reply.text


def test_base64_over_grpc_is_told_too(service: Service, samples: dict[str, bytes]) -> None:
    encoded = base64.b64encode(samples["7"])
    predict = predict_pb2.PredictRequest()
    predict.model_spec.name = "lenet5"
    predict.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([encoded])))
    infer = oip_pb2.ModelInferRequest(model_name="lenet5")
    infer.inputs.add(name="image_bytes", datatype="BYTES", shape=[1]).contents.bytes_contents.append(encoded)
    with service.channel() as channel:
        for ask, request in (
            (prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict, predict),
            (oip_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer, infer),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                ask(request, timeout=30)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "looks like base64" in (refused.value.details() or "")


@pytest.mark.parametrize(
    "kind",
    [
        *("image/png", "IMAGE/PNG", "image/jpeg; name=a", "image/*", "application/x-image", "binary/octet-stream"),
        *("application/octet-stream", "Application/Octet-Stream; charset=binary", "", None),
    ],
)
def test_an_image_is_one_whatever_it_is_called(
    client: httpx.Client, samples: dict[str, bytes], kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    reply = client.post("/predict/lenet5", content=samples["7"], headers=headers)
    assert reply.status_code == 200 and reply.json()["predictions"][0]["label"] == "7", reply.text


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "application/json",
            "APPLICATION/JSON",
            'application/json; charset="utf-8"',
            "application/json;v=1",
            "text/json",
        ),
        *("application/vnd.api+json", "Application/LD+JSON; profile=x", "application/problem+json"),
    ],
)
def test_json_is_json_whatever_it_is_called(client: httpx.Client, samples: dict[str, bytes], kind: str) -> None:
    body = json.dumps({"instances": [{"b64": base64.b64encode(samples["7"]).decode()}]})
    reply = client.post("/predict/lenet5", content=body, headers={"content-type": kind})
    assert reply.status_code == 200 and reply.json()["predictions"][0]["label"] == "7", reply.text


@pytest.mark.parametrize("kind", ["multipart/form-data", "Multipart/Form-Data", "MULTIPART/FORM-DATA"])
def test_a_form_is_a_form_whatever_its_case(client: httpx.Client, samples: dict[str, bytes], kind: str) -> None:
    made = client.build_request("POST", "/predict/lenet5", files={"image": ("a.png", samples["7"])})
    kind = made.headers["content-type"].replace("multipart/form-data", kind)
    reply = client.post("/predict/lenet5", content=made.read(), headers={"content-type": kind})
    assert reply.status_code == 200 and reply.json()["predictions"][0]["label"] == "7", reply.text


def test_a_model_that_is_not_there_is_not_found_whatever_is_asked_of_it(
    service: Service, client: httpx.Client, samples: dict[str, bytes]
) -> None:
    body = {"instances": [1]}
    for path in (
        "/predict/nobody?label=stable",
        "/predict/nobody?version=1",
        "/predict/nobody",
        "/v1/models/nobody/labels/stable:predict",
        "/v1/models/nobody/versions/1:predict",
        "/v1/models/nobody:predict",
        "/v2/models/nobody/versions/stable/infer",
        "/v2/models/nobody/versions/1/infer",
        "/v2/models/nobody/infer",
    ):
        assert client.post(path, json=body).status_code == 404, path
    for path in ("/v2/models/nobody/versions/stable", "/v2/models/nobody/versions/stable/ready"):
        assert client.get(path).status_code == 404, path
    predict = predict_pb2.PredictRequest()
    predict.model_spec.name, predict.model_spec.version_label = "nobody", "stable"
    infer = oip_pb2.ModelInferRequest(model_name="nobody", model_version="stable")
    with service.channel() as channel:
        for ask, request in (
            (prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict, predict),
            (oip_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer, infer),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                ask(request, timeout=30)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
