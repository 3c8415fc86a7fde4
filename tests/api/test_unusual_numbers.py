"""Numbers that some clients send and others never do: NaN, whole floats, integers past their type."""

import json

import httpx
import numpy as np
import tritonclient.grpc
import tritonclient.http

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc, types_pb2
from tests.support.replies import error_of
from tests.support.service_process import Service

NAN = np.full((1, 28, 28, 1), np.nan, np.float32)


def test_nan_reaches_the_model_over_every_protocol_that_can_carry_it(service: Service, client: httpx.Client) -> None:
    for kind, port in ((tritonclient.http, service.http_port), (tritonclient.grpc, service.grpc_port)):
        sent = kind.InferInput("tensor", list(NAN.shape), "FP32").set_data_from_numpy(NAN)
        with kind.InferenceServerClient(f"127.0.0.1:{port}") as triton:
            assert np.isnan(triton.infer("lenet5", [sent]).as_numpy("probabilities")).all()
    tensor = {"name": "tensor", "shape": list(NAN.shape), "datatype": "FP32", "data": NAN.ravel().tolist()}
    reply = client.post("/v2/models/lenet5/infer", content=json.dumps({"inputs": [tensor]}))
    assert reply.status_code == 200, reply.text
    outputs = {output["name"]: output["data"] for output in reply.json()["outputs"]}
    assert outputs["probabilities"] == [None] * 10, "JSON has no word for it but null"
    body = json.dumps({"signature_name": "tensor", "instances": NAN.tolist()})
    reply = client.post("/v1/models/lenet5:predict", content=body)
    assert reply.status_code == 200 and np.isnan(reply.json()["predictions"][0]).all()
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "lenet5", "tensor"
    request.inputs["tensor"].dtype = types_pb2.DT_FLOAT
    request.inputs["tensor"].float_val.append(float("nan"))
    for size in NAN.shape:
        request.inputs["tensor"].tensor_shape.dim.add(size=size)
    with service.channel() as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert np.isnan(answer.outputs["probabilities"].float_val).all()


def test_this_servers_own_api_refuses_what_json_cannot_say(client: httpx.Client) -> None:
    for number, says in (("NaN", "not valid JSON"), ("1e400", "does not fit float32")):
        body = f'{{"signature_name": "tensor", "instances": {json.dumps(NAN.tolist()).replace("NaN", number)}}}'
        reply = client.post("/predict/lenet5", content=body, headers={"content-type": "application/json"})
        assert says in error_of(reply, 400)["message"]


def test_whole_floats_are_pixels(service: Service, client: httpx.Client) -> None:
    pixels = np.arange(28 * 28 * 3).reshape(1, 28, 28, 3) % 256
    for values in (pixels.tolist(), pixels.astype(float).tolist()):
        ours = client.post("/predict/lenet5", json={"instances": values}).json()["predictions"]
        tensor = {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8", "data": values}
        theirs = client.post("/v2/models/lenet5/infer", json={"inputs": [tensor]}).json()["outputs"]
        (probabilities,) = [output["data"] for output in theirs if output["name"] == "probabilities"]
        assert ours[0]["label"] == str(np.argmax(probabilities))
    half = (pixels + 0.5).tolist()
    assert "a fraction" in error_of(client.post("/predict/lenet5", json={"instances": half}), 400)["message"]


def test_random_bytes_are_pixels_whatever_their_sign(service: Service) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "lenet5", "image"
    with service.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answers = []
        for white in (255, -1):
            request.inputs["image"].CopyFrom(_make_pixels(white))
            answers.append(list(stub.Predict(request, timeout=30).outputs["probabilities"].float_val))
    assert answers[0] == answers[1]


def _make_pixels(value: int) -> codec.TensorProto:
    request = predict_pb2.PredictRequest()
    tensor = request.inputs["image"]
    tensor.dtype = types_pb2.DT_UINT8
    tensor.int_val.append(value)
    for size in (1, 28, 28, 3):
        tensor.tensor_shape.dim.add(size=size)
    return tensor
