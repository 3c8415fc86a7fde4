"""The stock stubs of tensorflow-serving-api against us, used as a client of TensorFlow Serving would."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from service.host import processes
from service.protobuf import tensors as codec
from service.protobuf.stubs import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    types_pb2,
)
from service.types import strings
from tests.support import saved_model_zoo as zoo
from tests.support.images import encode, photo
from tests.support.service_process import Service
from tests.support.testdata import needs_testdata


@pytest.fixture
def channel(service: Service) -> Iterator[grpc.Channel]:
    with service.channel() as channel:
        yield channel


@pytest.fixture
def prediction(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def models(channel: grpc.Channel) -> Any:
    return model_service_pb2_grpc.ModelServiceStub(channel)


def image_request(*images: bytes, name: str = "lenet5") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    tensor = request.inputs["image_bytes"]
    tensor.dtype = types_pb2.DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    return request


def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details() or ""


def test_predict_answers_in_typed_fields_and_names_the_version(prediction: Any, samples: dict[str, bytes]) -> None:
    reply = prediction.Predict(image_request(samples["3"], samples["8"]), timeout=30)
    assert reply.model_spec.name == "lenet5" and reply.model_spec.version.value == 1
    assert reply.model_spec.signature_name == "serving_default"
    probabilities = reply.outputs["probabilities"]
    assert [dim.size for dim in probabilities.tensor_shape.dim] == [2, 10]
    assert len(probabilities.float_val) == 20 and not probabilities.tensor_content
    first = list(probabilities.float_val[:10])
    assert reply.outputs["classes"].string_val[first.index(max(first))] == b"3"
    assert list(reply.outputs["classes"].string_val) == [str(digit).encode() for digit in range(10)] * 2


def test_output_filter_picks_outputs(prediction: Any, samples: dict[str, bytes]) -> None:
    request = image_request(samples["3"])
    request.output_filter.append("classes")
    assert set(prediction.Predict(request, timeout=30).outputs) == {"classes"}
    request.output_filter[:] = ["classes", "classes"]
    assert "twice" in code_of(lambda: prediction.Predict(request, timeout=30))[1]
    request.output_filter[:] = ["nope"]
    code, message = code_of(lambda: prediction.Predict(request, timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "['classes', 'probabilities']" in message


@needs_testdata
def test_half_plus_two_as_upstreams_own_test_asks_it(prediction: Any) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    request.inputs["x"].dtype = types_pb2.DT_FLOAT
    request.inputs["x"].float_val.append(2.0)
    request.inputs["x"].tensor_shape.dim.add(size=1)
    reply = prediction.Predict(request, timeout=30)
    assert list(reply.outputs["y"].float_val) == [3.0]
    request.model_spec.signature_name = "regress_x_to_y"
    code, message = code_of(lambda: prediction.Predict(request, timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "inputs" in message


def test_a_missing_model_is_a_servable_not_found(prediction: Any) -> None:
    code, message = code_of(lambda: prediction.Predict(image_request(b"", name="absent"), timeout=30))
    assert code is grpc.StatusCode.NOT_FOUND and "Servable" in message and "Latest(absent)" in message
    request = image_request(b"", name="absent")
    request.model_spec.version.value = -7
    code, message = code_of(lambda: prediction.Predict(request, timeout=30))
    assert code is grpc.StatusCode.NOT_FOUND and "Specific(absent, -7)" in message


def test_an_unknown_label_is_a_bad_argument(prediction: Any, models: Any) -> None:
    request = image_request(b"")
    request.model_spec.version_label = "nope"
    code, message = code_of(lambda: prediction.Predict(request, timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "nope" in message
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name, status.model_spec.version_label = "lenet5", "nope"
    assert len(models.GetModelStatus(status, timeout=30).model_version_status) == 1, "a status has no use for labels"


def test_an_unknown_signature_is_a_failed_precondition(prediction: Any, samples: dict[str, bytes]) -> None:
    request = image_request(samples["3"])
    request.model_spec.signature_name = "nope"
    code, message = code_of(lambda: prediction.Predict(request, timeout=30))
    assert code is grpc.StatusCode.FAILED_PRECONDITION and '"nope" not found' in message


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_long_messages_are_cut_and_marked(prediction: Any, letter: str) -> None:
    """In bytes: headers are bounded, and a message past that bound would arrive as another error."""
    code, message = code_of(lambda: prediction.Predict(image_request(b"", name=letter * 3000), timeout=30))
    assert code is grpc.StatusCode.NOT_FOUND
    assert message.endswith("...TRUNCATED") and len(message.encode()) <= 1024 + len("...TRUNCATED")


@pytest.mark.parametrize("says", ["name", "inputs", "label"])
def test_malformed_requests_say_what_is_missing(prediction: Any, says: str) -> None:
    request = predict_pb2.PredictRequest()
    if says != "name":
        request.model_spec.name = "lenet5"
    if says == "label":
        request.model_spec.version_label = "canary"
    code, message = code_of(lambda: prediction.Predict(request, timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and says in message


def test_a_precision_is_a_label(prediction: Any, samples: dict[str, bytes]) -> None:
    request = image_request(samples["7"])
    request.model_spec.version_label = "float32"
    assert prediction.Predict(request, timeout=30).model_spec.version.value == 1


def test_a_deadline_that_cannot_be_met(prediction: Any, samples: dict[str, bytes]) -> None:
    code, _ = code_of(lambda: prediction.Predict(image_request(*[samples["3"]] * 500), timeout=0.001))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


def zoo_request(signature: str, **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = zoo.NAME, signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(codec.to_proto(np.asarray(value, np.float32)))
    return request


def test_wrong_inputs_are_counted_and_named(prediction: Any) -> None:
    def refused(request: Any) -> str:
        code, message = code_of(lambda: prediction.Predict(request, timeout=30))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        return message

    several = refused(zoo_request("a_scalar", x=[1], y=[1]))
    assert "2 inputs" in several and "takes 1" in several and "extra: ['y'], missing: []" in several
    none = refused(zoo_request("a_scalar"))
    assert "0 inputs" in none and "extra: [], missing: ['x']" in none
    other = refused(zoo_request("a_scalar", y=[1]))
    assert "lacks 'x'" in other and "['y'] were sent" in other
    assert "lacks 'x'" in refused(zoo_request("a_default", y=[1], b=[1]))
    assert "missing: ['x']" in refused(zoo_request("a_default", b=[1]))


def test_inputs_with_a_default_may_be_left_out(prediction: Any) -> None:
    reply = prediction.Predict(zoo_request("a_default", x=[1]), timeout=30)
    assert list(reply.outputs["b"].float_val) == [7] and list(reply.outputs["x"].float_val) == [1]
    reply = prediction.Predict(zoo_request("a_default", x=[1], b=[8]), timeout=30)
    assert list(reply.outputs["b"].float_val) == [8]


def test_no_inputs_at_all(prediction: Any) -> None:
    assert list(prediction.Predict(zoo_request("no_inputs"), timeout=30).outputs["y"].float_val) == [2.5]


@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_every_type_there_and_back(prediction: Any, dtype: str) -> None:
    request = zoo_request(f"echo_{dtype}")
    array = strings([b"", b"\xff"]) if dtype == "string" else np.asarray([[0, 1], [1, 0]]).astype(dtype)
    request.inputs["x"].CopyFrom(codec.to_proto(array))
    reply = prediction.Predict(request, timeout=30).outputs["y"]
    assert reply == request.inputs["x"], "the field of its type, as it was sent"


def test_what_is_not_done_here_says_what_to_do(models: Any) -> None:
    request = model_management_pb2.ReloadConfigRequest()
    code, message = code_of(lambda: models.HandleReloadConfigRequest(request, timeout=30))
    assert code is grpc.StatusCode.UNIMPLEMENTED and "--repository" in message


def test_metadata_lists_every_signature(prediction: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "lenet5"
    reply = prediction.GetModelMetadata(request, timeout=30)
    assert reply.model_spec.version.value == 1
    definitions = get_model_metadata_pb2.SignatureDefMap()
    assert reply.metadata["signature_def"].Unpack(definitions)
    assert set(definitions.signature_def) == {"serving_default", "image", "tensor", "features", "image_features"}
    image = definitions.signature_def["image"].inputs["image"]
    assert image.dtype == types_pb2.DT_UINT8 and [dim.size for dim in image.tensor_shape.dim] == [-1, 28, 28, 3]
    for fields in (["nope"], ["signature_def", "nope"], []):
        request.metadata_field[:] = fields
        code, message = code_of(lambda: prediction.GetModelMetadata(request, timeout=30))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and str(fields) in message


def test_status(models: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "lenet5"
    (version,) = models.GetModelStatus(request, timeout=30).model_version_status
    assert version.version == 1 and version.HasField("status") and version.status.error_code == 0
    assert version.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    request.model_spec.version.value = 9
    assert code_of(lambda: models.GetModelStatus(request, timeout=30))[0] is grpc.StatusCode.NOT_FOUND
    request.model_spec.name = "absent"
    assert code_of(lambda: models.GetModelStatus(request, timeout=30))[0] is grpc.StatusCode.NOT_FOUND
    request.model_spec.Clear()
    code, message = code_of(lambda: models.GetModelStatus(request, timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "name" in message


def test_a_version_that_failed_says_why(models: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "broken"
    (version,) = models.GetModelStatus(request, timeout=30).model_version_status
    assert version.state == get_model_status_pb2.ModelVersionStatus.END
    assert version.status.error_code == grpc.StatusCode.UNKNOWN.value[0] and "broken/1" in version.status.error_message


@pytest.mark.parametrize("name", ["", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"])
def test_health(channel: grpc.Channel, name: str) -> None:
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_a_client_without_our_protos_learns_them_by_reflection(
    channel: grpc.Channel, samples: dict[str, bytes]
) -> None:
    """As grpcurl does: names, descriptors, then a call with messages made of those."""
    database = ProtoReflectionDescriptorDatabase(channel)
    names = set(database.get_services())
    assert {"tensorflow.serving.PredictionService", "inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
    service = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
    method = service.methods_by_name["ModelInfer"]
    request: Any = GetMessageClass(method.input_type)()
    request.model_name = "lenet5"
    request.raw_input_contents.append(bytes_tensor(samples["7"]))
    request.inputs.add(name="image_bytes", datatype="BYTES", shape=[1])
    request.outputs.add(name="classes")
    call: Any = channel.unary_unary(f"/{service.full_name}/ModelInfer")
    reply: Any = GetMessageClass(method.output_type).FromString(call(request.SerializeToString(), timeout=30))
    assert reply.outputs[0].name == "classes"


def bytes_tensor(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_read(
    prediction: Any, samples: dict[str, bytes], compression: grpc.Compression
) -> None:
    reply = prediction.Predict(image_request(samples["3"]), timeout=30, compression=compression)
    assert len(reply.outputs["probabilities"].float_val) == 10


def test_a_compressed_bomb_is_refused_within_the_limit(service: Service, prediction: Any) -> None:
    def peak() -> float:
        return processes.peak_mb(service.process.pid)

    request = image_request(b"x")
    request.inputs["image_bytes"].tensor_content = bytes(200 * 2**20)
    before = peak()
    code, message = code_of(lambda: prediction.Predict(request, timeout=60, compression=grpc.Compression.Gzip))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message
    assert peak() - before < 150


def test_large_requests_pass(prediction: Any) -> None:
    """Python's gRPC stops at 4 MiB unless told."""
    request = image_request(*[encode(photo())] * 20)
    assert request.ByteSize() > 6 * 2**20
    assert len(prediction.Predict(request, timeout=60).outputs["probabilities"].float_val) == 200


def test_a_cancelled_call_is_counted_and_leaves_the_server_well(
    service: Service, prediction: Any, samples: dict[str, bytes]
) -> None:
    def cancelled() -> float:
        """Counted so far: a deadline that passes on both sides at once may look like a cancellation too."""
        series = 'model_server_requests_total{code="CANCELLED",model="lenet5",protocol="grpc",version="1"}'
        return service.metric(series)

    # Some 20 ms of decoding each: left alone, it would take longer than any machine takes to notice the cancelling.
    slow = image_request(*[encode(np.zeros((2000, 2000, 3), np.uint8))] * 60)
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 0, 20)
    before = cancelled()
    call = prediction.Predict.future(slow, timeout=120)
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 1, 10)
    call.cancel()
    service.wait_until(lambda: cancelled() == before + 1, 20)
    assert prediction.Predict(image_request(samples["3"]), timeout=30).model_spec.version.value == 1


def test_a_small_hostile_request_takes_no_memory(service: Service, prediction: Any) -> None:
    """Inputs that the signature does not have are refused before they are unpacked."""

    def resident() -> float:
        return processes.resident_mb(service.process.pid)

    request = image_request(b"x")
    for number in range(24):
        tensor = request.inputs[f"x{number}"]
        tensor.dtype = types_pb2.DT_INT64
        tensor.int64_val.append(1)
        tensor.tensor_shape.dim.add(size=2**24)
    before = resident()
    assert code_of(lambda: prediction.Predict(request, timeout=30))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert resident() - before < 50
