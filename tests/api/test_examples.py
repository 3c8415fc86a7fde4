"""Classify, Regress and MultiInference: tf.Examples in, over gRPC and REST, through TensorFlow's own parsing."""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from service.protobuf.stubs import (
    classification_pb2,
    example_pb2,
    inference_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tests.support import saved_model_zoo as zoo
from tests.support.service_process import Service
from tests.support.testdata import needs_testdata

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture
def prediction(service: Service) -> Iterator[Any]:
    with service.channel() as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def example(**features: float) -> Any:
    made = example_pb2.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def asking(kind: type, signature: str, *examples: Any, model: str = "half_plus_two") -> Any:
    request = kind()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.input.example_list.examples.extend(examples)
    return request


def code_of(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return caught.value.code(), caught.value.details() or ""


@needs_testdata
def test_regress_and_classify_as_upstreams_own_tests_ask(prediction: Any) -> None:
    regress = asking(regression_pb2.RegressionRequest, "regress_x_to_y", example(x=2), example(x=5))
    reply = prediction.Regress(regress, timeout=30)
    assert [regression.value for regression in reply.result.regressions] == [3, 4.5]
    assert reply.model_spec.name == "half_plus_two" and reply.model_spec.version.value == 123
    assert reply.model_spec.signature_name == "regress_x_to_y"
    classify = asking(classification_pb2.ClassificationRequest, "classify_x_to_y", example(x=2))
    (row,) = prediction.Classify(classify, timeout=30).result.classifications
    assert [(one.label, one.score) for one in row.classes] == [("", 3)]


def test_labels_and_scores(prediction: Any, client: httpx.Client) -> None:
    request = asking(classification_pb2.ClassificationRequest, "classify", example(x=2), model=zoo.NAME)
    (row,) = prediction.Classify(request, timeout=30).result.classifications
    assert [(one.label, one.score) for one in row.classes] == [("a", 0.25), ("b", 0.75)]
    reply = client.post("/v1/models/zoo:classify", json={"signature_name": "classify", "examples": [{}]})
    assert reply.text == '{\n    "results": [[["a", 0.25], ["b", 0.75]]\n    ]\n}'


@needs_testdata
def test_a_context_stands_behind_every_example(prediction: Any, client: httpx.Client) -> None:
    request = asking(regression_pb2.RegressionRequest, "regress_x_to_y")
    request.input.example_list_with_context.context.CopyFrom(example(x=2))
    request.input.example_list_with_context.examples.extend([example(), example(x=4)])
    reply = prediction.Regress(request, timeout=30)
    assert [regression.value for regression in reply.result.regressions] == [3, 4]
    body = {"signature_name": "regress_x_to_y", "context": {"x": 2.0}, "examples": [{}, {"x": [4.0]}]}
    over_rest = client.post("/v1/models/half_plus_two:regress", json=body)
    assert over_rest.text == '{\n    "results": [3.0, 4.0]\n}'


@needs_testdata
def test_several_tasks_in_one_call(prediction: Any) -> None:
    def multi(*tasks: tuple[str, str, str]) -> Any:
        request = inference_pb2.MultiInferenceRequest()
        request.input.example_list.examples.append(example(x=2))
        for model, signature, method in tasks:
            task = request.tasks.add(method_name=method)
            task.model_spec.name, task.model_spec.signature_name = model, signature
        return request

    regress, classify = ("half_plus_two", "regress_x_to_y", REGRESS), ("half_plus_two", "classify_x_to_y", CLASSIFY)
    first, second = prediction.MultiInference(multi(regress, classify), timeout=30).results
    assert first.regression_result.regressions[0].value == 3 and first.model_spec.signature_name == "regress_x_to_y"
    assert second.classification_result.classifications[0].classes[0].score == 3
    invalid, unimplemented = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED
    for request, code, says in (
        (multi(), invalid, "no tasks"),
        (multi(regress, regress), invalid, "another signature"),
        (multi(regress, ("zoo", "classify", CLASSIFY)), invalid, "same model"),
        (multi(("", "classify", CLASSIFY)), invalid, "name"),
        (multi(("half_plus_two", "serving_default", "tensorflow/serving/predict")), unimplemented, "predict"),
    ):
        given, message = code_of(prediction.MultiInference, request)
        assert given is code and says in message


@needs_testdata
@pytest.mark.parametrize(
    ("signature", "examples", "says"),
    [
        ("nope", [example(x=1)], '"nope" not found'),
        ("regress_x_to_y", [], "at least one Example"),
        ("serving_default", [example(x=1)], "not one for"),
        ("classify_x_to_y", [example(x=1)], "not one for"),
        ("regress_x2_to_y3", [example(x=1)], "takes float32"),
        ("regress_x_to_y", [example_pb2.Example()], "x"),
    ],
)
def test_what_cannot_be_regressed(prediction: Any, signature: str, examples: list[Any], says: str) -> None:
    code, message = code_of(prediction.Regress, asking(regression_pb2.RegressionRequest, signature, *examples))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and says in message


def test_outputs_of_another_kind_are_refused(prediction: Any) -> None:
    request = asking(regression_pb2.RegressionRequest, "regress_badly", example(x=1), model=zoo.NAME)
    code, message = code_of(prediction.Regress, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "object [1]" in message
    request.model_spec.name = "absent"
    assert code_of(prediction.Regress, request)[0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("body", "model", "status", "says"),
    [
        ("{", "nobody", 400, "JSON"),
        ('{"signature_name": "classify"}', "nobody", 400, "examples"),
        ('{"signature_name": "classify", "examples": [{}]}', "nobody", 404, "Latest(nobody)"),
        ('{"signature_name": "classify", "examples": []}', zoo.NAME, 400, "at least one"),
        ('{"signature_name": "classify", "examples": [1]}', zoo.NAME, 400, "item 0 of 'examples'"),
        ('{"signature_name": "classify", "examples": [{}], "context": 1}', zoo.NAME, 400, "'context'"),
        ('{"signature_name": "classify", "examples": [{"x": [1, 1.5]}]}', zoo.NAME, 400, "mixes float and int64"),
        ('{"signature_name": "classify", "examples": [{"x": [[1]]}]}', zoo.NAME, 400, "'x'"),
        ('{"signature_name": "classify", "examples": [{"x": null}]}', zoo.NAME, 400, "null"),
        ('{"signature_name": "classify", "examples": [{"x": 9223372036854775808}]}', zoo.NAME, 400, "int64"),
        ('{"signature_name": "classify", "examples": [{"x": {"b65": ""}}]}', zoo.NAME, 400, "b64"),
        ('{"signature_name": "classify", "examples": [{"\\ud800": 1}]}', zoo.NAME, 400, "not text"),
        (b'{"signature_name": "classify", "examples": [{"\xff": 1}]}', zoo.NAME, 400, "not text"),
        ('{"signature_name": "\\ud800", "examples": [{}]}', zoo.NAME, 400, "not found"),
        ('{"signature_name": "nope", "examples": [{}]}', zoo.NAME, 400, '"nope" not found'),
        ('{"examples": [{}]}', zoo.NAME, 400, "not one for"),
    ],
)
def test_bad_examples_over_rest(client: httpx.Client, body: str | bytes, model: str, status: int, says: str) -> None:
    reply = client.post(f"/v1/models/{model}:classify", content=body)
    assert reply.status_code == status and says in reply.json()["error"]
