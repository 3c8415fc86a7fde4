"""A service with API keys, asked with this key or that over both protocols."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from service.types import strings
from tests.support.service_process import Service

CODES = {
    200: grpc.StatusCode.OK,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@dataclass(frozen=True)
class Guarded:
    """A service with keys: `file` says which, `all_models`, `cats_only` and `slow` are three of them."""

    service: Service
    file: Path
    digit: bytes
    all_models: str
    cats_only: str
    slow: str

    def ask_http(self, key: str | None, model: str = "lenet5") -> httpx.Response:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.post(f"{self.service.url}/predict/{model}", content=self.digit, headers=headers, timeout=30)

    def ask_grpc(self, key: str | None, model: str = "lenet5") -> tuple[grpc.StatusCode, Any]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([self.digit])))
        metadata = () if key is None else (("x-api-key", key),)
        with self.service.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                return grpc.StatusCode.OK, stub.Predict(request, metadata=metadata, timeout=30)
            except grpc.RpcError as error:
                return error.code(), error

    def outcomes(self, key: str | None, model: str = "lenet5") -> set[grpc.StatusCode]:
        return {CODES[self.ask_http(key, model).status_code], self.ask_grpc(key, model)[0]}
