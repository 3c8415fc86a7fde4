"""What is mutated: every row of the format matrix, valid JSON bodies of every API, valid messages of both gRPC APIs."""

import base64
import gzip
import random
from typing import Any

from service.protobuf import tensors as codec
from service.protobuf.stubs import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
    oip_pb2,
    predict_pb2,
    regression_pb2,
)
from service.types import strings
from tests.fuzz import binary, documents, messages
from tests.fuzz.cases import Case, Kind
from tests.support.image_matrix import all_files
from tests.support.images import photo

_SMALL = 20_000  # bytes
_LARGE_SHARE = 0.002  # of the cases are made from larger files
_TFS = "/tensorflow.serving.PredictionService/"
_OIP = "/inference.GRPCInferenceService/"
_JSON = {"content-type": "application/json"}
_LENGTH = "inference-header-content-length"


class Corpus:
    """Cases by number: the same for the same seed, whichever others are made."""

    def __init__(self, seed: int, model: str, digit: bytes) -> None:
        """`model` takes encoded images as `image_bytes` and 28x28 pixels as `image`; `digit` is one for it."""
        self._seed, self._model, self._digit = seed, model, digit
        files = all_files()
        self._small = [file.data for file in files if len(file.data) <= _SMALL]
        self._large = [file.data for file in files if len(file.data) > _SMALL]
        self._documents = _documents(model, digit)
        self._messages = _messages(model, digit)
        self._wires = [message.SerializeToString() for _, message in self._messages]
        self._make = {Kind.image: self._image, Kind.document: self._document, Kind.message: self._message}

    def case(self, kind: Kind, number: int) -> Case:
        chance = random.Random(f"{self._seed} {kind} {number}")
        path, body, headers = self._make[kind](chance)
        return Case(kind, number, path, body, headers)

    def _image(self, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
        data = chance.choice(self._large if chance.random() < _LARGE_SHARE else self._small)
        if data.startswith(b"\x89PNG") and chance.random() < 0.6:
            data = binary.damage_png(data, self._small, chance)
        else:
            data = binary.damage(data, self._small, chance)
        if chance.random() < 0.02:
            text = base64.b64encode(data)
            return f"/v1/models/{self._model}:predict", b'{"instances": [{"b64": "' + text + b'"}]}', _JSON
        return f"/predict/{self._model}", data, {"content-type": "application/octet-stream"}

    def _document(self, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
        path, document, tail = chance.choice(self._documents)
        text = documents.damage(document, chance)
        headers = dict(_JSON)
        if tail or chance.random() < 0.05:
            length = len(text) if chance.random() < 0.7 else chance.choice((0, 1, len(text) + 1, 2**31, 10**14))
            headers[_LENGTH] = str(length)
        body = text + tail
        match chance.randrange(20):
            case 0:
                headers["content-encoding"], body = "gzip", gzip.compress(body, 1)
            case 1:
                headers["content-encoding"], body = "gzip", binary.damage(gzip.compress(body, 1), [body], chance)
            case 2:
                headers["content-type"] = chance.choice(("text/plain", "application/x-image", "image/png", "x"))
        return path, body, headers

    def _message(self, chance: random.Random) -> tuple[str, bytes, dict[str, str]]:
        method, message = chance.choice(self._messages)
        if chance.random() < 0.05:  # another method's message
            method = chance.choice(self._messages)[0]
        return method, messages.damage(message, self._wires, chance), {}


def _documents(model: str, digit: bytes) -> list[tuple[str, Any, bytes]]:
    """Target, body, and bytes behind it."""
    b64 = {"b64": base64.b64encode(digit).decode()}
    pixels = photo()[:28, :28].tolist()
    grey = [[[0.5] for _ in range(28)] for _ in range(28)]
    image = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [b64["b64"]]}
    flat = {"name": "image", "shape": [1, 28, 28, 3], "datatype": "UINT8", "data": photo()[:28, :28].flatten().tolist()}
    raw = {"name": "image", "shape": [1, 28, 28, 3], "datatype": "UINT8", "parameters": {"binary_data_size": 2352}}
    outputs = [{"name": "probabilities", "parameters": {"binary_data": False, "classification": 3}}]
    predict, v1, v2 = f"/predict/{model}", f"/v1/models/{model}", f"/v2/models/{model}/infer"
    bodies = [
        (predict, {"instances": [b64, b64]}),
        (predict, {"instances": pixels, "signature_name": "image"}),
        (predict, {"inputs": {"image_bytes": [b64]}, "signature_name": "serving_default"}),
        (predict, {"image": b64["b64"]}),
        (f"{v1}:predict", {"instances": [b64, {"image_bytes": b64}]}),
        (f"{v1}:predict", {"instances": [pixels], "signature_name": "image"}),
        (f"{v1}:predict", {"inputs": [grey], "signature_name": "tensor"}),
        (f"{v1}:classify", {"examples": [{"image_bytes": b64}], "context": {"a": [1, 2], "b": ["x"], "c": 0.5}}),
        (f"{v1}:regress", {"examples": [{"image_bytes": b64}], "signature_name": "serving_default"}),
        (v2, {"id": "7", "inputs": [image], "outputs": outputs, "parameters": {"signature_name": "serving_default"}}),
        (v2, {"inputs": [flat], "outputs": [{"name": "probabilities"}]}),
    ]
    in_bytes = {"inputs": [raw], "outputs": outputs, "parameters": {"binary_data_output": True}}
    return [*((path, body, b"") for path, body in bodies), (v2, in_bytes, photo()[:28, :28].tobytes())]


def _messages(model: str, digit: bytes) -> list[tuple[str, Any]]:
    spec = model_pb2.ModelSpec(name=model)
    encoded = predict_pb2.PredictRequest(model_spec=spec, output_filter=["probabilities"])
    encoded.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([digit, digit])))
    pixels = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=model, signature_name="image"))
    codec.fill_request(pixels.inputs["image"], photo()[None, :28, :28])
    floats = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(name=model, signature_name="tensor"))
    tensor = floats.inputs["tensor"]
    tensor.dtype = 1
    for size in (1, 28, 28, 1):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend([0.5] * 784)
    classify = classification_pb2.ClassificationRequest(model_spec=spec)
    example = classify.input.example_list.examples.add()
    example.features.feature["image_bytes"].bytes_list.value.append(digit)
    example.features.feature["number"].int64_list.value.append(7)
    regress = regression_pb2.RegressionRequest(model_spec=spec, input=classify.input)
    several = inference_pb2.MultiInferenceRequest(input=classify.input)
    several.tasks.add(model_spec=spec, method_name="tensorflow/serving/classify")
    described = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    infer = oip_pb2.ModelInferRequest(model_name=model, id="7")
    infer.inputs.add(name="image", datatype="UINT8", shape=[1, 28, 28, 3])
    infer.raw_input_contents.append(photo()[:28, :28].tobytes())
    typed = oip_pb2.ModelInferRequest(model_name=model, model_version="1")
    contents = typed.inputs.add(name="image_bytes", datatype="BYTES", shape=[1])
    contents.contents.bytes_contents.append(digit)
    typed.outputs.add(name="probabilities").parameters["classification"].int64_param = 3
    return [
        (f"{_TFS}Predict", encoded),
        (f"{_TFS}Predict", pixels),
        (f"{_TFS}Predict", floats),
        (f"{_TFS}Classify", classify),
        (f"{_TFS}Regress", regress),
        (f"{_TFS}MultiInference", several),
        (f"{_TFS}GetModelMetadata", described),
        (
            "/tensorflow.serving.ModelService/GetModelStatus",
            get_model_status_pb2.GetModelStatusRequest(model_spec=spec),
        ),
        (f"{_OIP}ModelInfer", infer),
        (f"{_OIP}ModelInfer", typed),
        (f"{_OIP}ModelMetadata", oip_pb2.ModelMetadataRequest(name=model)),
        (f"{_OIP}ModelConfig", oip_pb2.ModelConfigRequest(name=model)),
        (f"{_OIP}ModelStatistics", oip_pb2.ModelStatisticsRequest(name=model, version="1")),
        (f"{_OIP}ModelReady", oip_pb2.ModelReadyRequest(name=model, version="1")),
        (f"{_OIP}RepositoryIndex", oip_pb2.RepositoryIndexRequest(ready=True)),
    ]
