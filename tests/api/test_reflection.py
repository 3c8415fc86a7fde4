"""Clients without .proto files, such as grpcurl and grpc_requests: they list services, learn messages, and call."""

from typing import Any

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.service_process import Service

SERVICES = {
    "tensorflow.serving.PredictionService": {"Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"},
    "tensorflow.serving.ModelService": {"GetModelStatus"},
    "inference.GRPCInferenceService": {"ModelInfer", "ModelStreamInfer", "ModelConfig", "ModelStatistics"},
    "grpc.health.v1.Health": {"Check", "Watch"},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo"},
}
MODEL = {"model_spec": {"name": "lenet5"}}


def test_every_service_can_be_learnt_and_is_healthy(service: Service) -> None:
    with service.channel() as channel:
        found = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(found)
        assert set(found.get_services()) == set(SERVICES)
        health = health_pb2_grpc.HealthStub(channel)
        listed = health.List(health_pb2.HealthListRequest(), timeout=30).statuses
        assert set(listed) == {"", *SERVICES}
        for name, methods in SERVICES.items():
            assert methods <= set(pool.FindServiceByName(name).methods_by_name)
            checked = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
            assert checked.status == listed[name].status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("method", "request_", "says"),
    [
        ("tensorflow.serving.ModelService/GetModelStatus", MODEL, "AVAILABLE"),
        (
            "tensorflow.serving.PredictionService/GetModelMetadata",
            MODEL | {"metadata_field": ["signature_def"]},
            "lenet5",
        ),
        ("inference.GRPCInferenceService/ModelReady", {"name": "lenet5"}, "true"),
    ],
)
def test_a_method_can_be_called(service: Service, method: str, request_: dict[str, Any], says: str) -> None:
    name, _, short = method.partition("/")
    with service.channel() as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        described = pool.FindServiceByName(name).methods_by_name[short]
        asked, answered = map(message_factory.GetMessageClass, (described.input_type, described.output_type))
        call = channel.unary_unary(f"/{method}", asked.SerializeToString, answered.FromString)
        reply = call(json_format.ParseDict(request_, asked()), timeout=30)
    assert says in str(reply)
