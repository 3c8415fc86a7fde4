"""How one image is asked of a model in each protocol: bytes made once, before the clock runs."""

import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """`path` is a URL's, or a gRPC method's full name; `body` an HTTP body, or a serialized message."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """`build(model, alias, image)`; `alias` is what the model calls its input of encoded images."""

    name: str
    grpc: bool
    build: Callable[[str, str, bytes], Request]


def requests(protocol: str, model: str, alias: str, images: Sequence[bytes]) -> list[Request]:
    return [PROTOCOLS[protocol].build(model, alias, image) for image in images]


def _predict(model: str, alias: str, image: bytes) -> Request:
    return Request(f"/predict/{model}", image, {"Content-Type": "image/jpeg"})


def _oip(model: str, alias: str, image: bytes) -> Request:
    tensor = struct.pack("<I", len(image)) + image
    size = {"binary_data_size": len(tensor)}
    described = {"name": alias, "datatype": "BYTES", "shape": [1], "parameters": size}
    head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Request(f"/v2/models/{model}/infer", head + tensor, headers)


def _tfserving(model: str, alias: str, image: bytes) -> Request:
    body = json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}]}).encode()
    return Request(f"/v1/models/{model}:predict", body, {"Content-Type": "application/json"})


def _grpc_tfserving(model: str, alias: str, image: bytes) -> Request:
    from service.protobuf import tensors as codec
    from service.protobuf.stubs import predict_pb2
    from service.types import strings

    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.inputs[alias].CopyFrom(codec.to_proto(strings([image])))
    return Request("/tensorflow.serving.PredictionService/Predict", message.SerializeToString())


def _grpc_oip(model: str, alias: str, image: bytes) -> Request:
    from service.protobuf.stubs import oip_pb2

    message = oip_pb2.ModelInferRequest(model_name=model)
    message.inputs.add(name=alias, datatype="BYTES", shape=[1])
    message.raw_input_contents.append(struct.pack("<I", len(image)) + image)
    return Request("/inference.GRPCInferenceService/ModelInfer", message.SerializeToString())


PROTOCOLS = {
    each.name: each
    for each in (
        Protocol("predict", False, _predict),
        Protocol("oip", False, _oip),
        Protocol("tfserving", False, _tfserving),
        Protocol("grpc-tfserving", True, _grpc_tfserving),
        Protocol("grpc-oip", True, _grpc_oip),
    )
}
