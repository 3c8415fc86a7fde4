"""TensorFlow Serving's REST API: paths, codes and shapes as its clients know them."""

import base64
import gzip
import http.client
import json
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf import json_format

from service.protobuf.stubs import get_model_metadata_pb2, meta_graph_pb2, prediction_service_pb2_grpc, saved_model_pb2
from tests.support import saved_model_zoo as zoo
from tests.support.images import encode
from tests.support.service_process import Service
from tests.support.testdata import TESTDATA, needs_testdata
from tests.support.tfserving_rest import ask, refused

HALF_PLUS_TWO = "/v1/models/half_plus_two"


@needs_testdata
@pytest.mark.parametrize("which", ["", "/versions/123", "/versions/00000123"])
def test_predict_as_upstreams_own_tests_ask_it(client: httpx.Client, which: str) -> None:
    rows = client.post(f"{HALF_PLUS_TWO}{which}:predict", content='{"instances": [2, 3, 4]}')
    assert rows.headers["content-type"] == "application/json"
    assert rows.text == '{\n    "predictions": [3.0, 3.5, 4.0\n    ]\n}'
    columns = client.post(f"{HALF_PLUS_TWO}{which}:predict", content='{"inputs": [2, 3, 4]}')
    assert columns.text == '{\n    "outputs": [3.0, 3.5, 4.0]\n}'


@needs_testdata
def test_answers_are_what_tensorflow_computes(client: httpx.Client) -> None:
    import tensorflow as tf

    assert TESTDATA is not None
    model = tf.saved_model.load(str(TESTDATA / "saved_model_half_plus_two_cpu" / "00000123"))
    x = np.random.default_rng(0).normal(scale=1e3, size=(64, 1)).astype(np.float32)
    expected = model.signatures["serving_default"](x=tf.constant(x))["y"].numpy()
    answered = ask(client, {"instances": x.tolist()}, "half_plus_two").json()["predictions"]
    np.testing.assert_array_equal(np.asarray(answered, np.float32), expected)


def test_images_of_our_own_models(client: httpx.Client, samples: dict[str, bytes]) -> None:
    image = {"b64": base64.b64encode(samples["7"]).decode()}
    for body in ({"instances": [image, image]}, {"instances": [{"image_bytes": image}] * 2}):
        for row in ask(client, body, "lenet5").json()["predictions"]:
            assert row["classes"][int(np.argmax(row["probabilities"]))] == "7"
    by_label = client.post("/v1/models/lenet5/labels/float32:predict", json={"inputs": [image]})
    assert len(by_label.json()["outputs"]["probabilities"]) == 1


def test_several_inputs_and_outputs(client: httpx.Client) -> None:
    hi = {"b64": base64.b64encode(b"hi").decode()}
    rows = ask(client, {"instances": [{"a": [1, 2], "s": "é"}, {"a": [3, 4.5], "s": hi}]}).json()["predictions"]
    assert rows == [
        {"a": [1.0, 2.0], "s": "é", "s_bytes": {"b64": base64.b64encode("é".encode()).decode()}},
        {"a": [3.0, 4.5], "s": "hi", "s_bytes": hi},
    ]
    columns = ask(client, {"inputs": {"a": [[1, 2]], "s": ["x"], "extra": 1}}).json()["outputs"]
    assert columns == {"a": [[1.0, 2.0]], "s": ["x"], "s_bytes": [{"b64": "eA=="}]}
    message = refused(ask(client, {"instances": [{"a": [1, 2], "s": "x", "extra": 1}]}), 400)
    assert "exactly ['a', 's']" in message
    assert "'s'" in refused(ask(client, {"inputs": {"a": [[1, 2]]}}), 400)
    assert "several inputs" in refused(ask(client, {"instances": [[1, 2]]}), 400)


_BY_KIND: dict[str, tuple[list[str], list[Any]]] = {
    "floats": (["float32", "float64"], [0.1, -2.0, 9e6]),
    "integers": (["int8", "int16", "int32", "int64"], [1, -2, 100]),
    "naturals": (["uint8", "uint32", "uint64"], [0, 2, 255]),
    "booleans": (["bool"], [True, False, True]),
    "texts": (["string"], ["", "é", "a\nb"]),
}
VALUES = {dtype: values for dtypes, values in _BY_KIND.values() for dtype in dtypes}


@pytest.mark.parametrize("dtype", zoo.DTYPES)
def test_every_type_there_and_back(client: httpx.Client, dtype: str) -> None:
    signature = f"echo_{dtype}"
    values = VALUES.get(dtype)
    columns = ask(client, {"signature_name": signature, "inputs": values or [1]})
    rows = ask(client, {"signature_name": signature, "instances": values or [1]})
    if values is None:
        assert dtype in refused(columns, 501) and dtype in refused(rows, 400)
        return
    assert columns.json() == {"outputs": values} and rows.json() == {"predictions": values}
    scalar = ask(client, {"signature_name": signature, "inputs": values[0]})
    assert scalar.json() == {"outputs": values[0]}


def test_outputs_that_are_no_rows(client: httpx.Client) -> None:
    for signature, says in (("three_rows", "differ in rows"), ("a_scalar", "no rows")):
        assert says in refused(ask(client, {"signature_name": signature, "instances": [1, 2]}), 400)
        assert ask(client, {"signature_name": signature, "inputs": [1, 2]}).status_code == 200
    assert "no inputs" in refused(ask(client, {"signature_name": "no_inputs", "inputs": {}}), 400)


def test_what_is_not_finite_is_bare(client: httpx.Client) -> None:
    reply = ask(client, '{"signature_name": "echo_float32", "instances": [NaN, Infinity, -Infinity]}')
    assert "[NaN, Infinity, -Infinity" in reply.text


def test_bodies_may_be_zipped(client: httpx.Client) -> None:
    def zipped(body: bytes) -> httpx.Response:
        return client.post("/v1/models/zoo:predict", content=body, headers={"content-encoding": "gzip"})

    body = b'{"signature_name": "echo_int32", "inputs": [1]}'
    reply = zipped(gzip.compress(body))
    assert reply.json() == {"outputs": [1]} and "content-encoding" not in reply.headers
    assert "gzip" in refused(zipped(body), 400)
    assert "breaks off" in refused(zipped(gzip.compress(body)[:-9]), 400)
    bomb = gzip.compress(b" " * 2**28)
    assert len(bomb) < 2**19 and "unpacked" in refused(zipped(bomb), 413)


def test_the_status_of_every_version(client: httpx.Client) -> None:
    fine = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("lenet5", "lenet5/versions/1", "lenet5/labels/whatever"):
        reply = client.get(f"/v1/models/{path}")
        assert reply.headers["content-type"] == "application/json"
        assert reply.json() == {"model_version_status": [fine]}
    broken = client.get("/v1/models/broken")
    (version,) = broken.json()["model_version_status"]
    assert broken.status_code == 200 and version["state"] == "END"
    assert version["status"]["error_code"] == "UNKNOWN" and "broken/1" in version["status"]["error_message"]
    assert "broken/1" in refused(ask(client, {"instances": [1]}, "broken"), 404)


def test_metadata_is_protobufs_json_of_the_graphs_own(service: Service, client: httpx.Client) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    models = ["lenet5", "zoo"] + (["half_plus_two"] if TESTDATA is not None else [])
    with service.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for name in models:
            request.model_spec.name = name
            reply = stub.GetModelMetadata(request, timeout=30)
            definitions = get_model_metadata_pb2.SignatureDefMap()
            reply.metadata["signature_def"].Unpack(definitions)
            version = str(reply.model_spec.version.value)
            document = client.get(f"/v1/models/{name}/metadata").json()
            assert document == client.get(f"/v1/models/{name}/versions/{version}/metadata").json()
            assert document["model_spec"] == {"name": name, "signature_name": "", "version": version}
            assert document["metadata"]["signature_def"] == json_format.MessageToDict(
                definitions, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )


@needs_testdata
def test_metadata_has_what_stands_in_the_file(client: httpx.Client) -> None:
    assert TESTDATA is not None
    path = TESTDATA / "saved_model_half_plus_two_cpu" / "00000123" / "saved_model.pb"
    written = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs[0].signature_def
    told = client.get(f"{HALF_PLUS_TWO}/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert set(told) == set(written)
    for name, definition in told.items():
        assert json_format.ParseDict(definition, meta_graph_pb2.SignatureDef()) == written[name]
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    x = {"name": "x:0", "dtype": "DT_FLOAT", "tensor_shape": shape}
    assert told["serving_default"]["inputs"] == {"x": x} and told["serving_default"]["defaults"] == {}
    assert told["regress_x_to_y"]["inputs"]["inputs"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


def test_requests_share_batches(client: httpx.Client, service: Service) -> None:
    """One path for every protocol: what comes in here is counted, and batched, like the rest."""

    def counted() -> tuple[float, float]:
        ok = 'model_server_requests_total{code="OK",model="lenet5",protocol="http",version="1"}'
        rows = 'model_server_batch_rows_sum{model="lenet5",version="1"}'
        return service.metric(ok), service.metric(rows)

    before = counted()
    body = {"signature_name": "tensor", "instances": np.zeros((3, 28, 28, 1)).tolist()}
    assert len(ask(client, body, "lenet5").json()["predictions"]) == 3
    assert counted() == (before[0] + 1, before[1] + 3)


def test_a_deadline_holds_here_too(client: httpx.Client, samples: dict[str, bytes]) -> None:
    body = json.dumps({"instances": [{"b64": base64.b64encode(samples["7"]).decode()}]})
    for deadline, status in (("0.001", 504), ("soon", 400)):
        headers = {"x-request-deadline-ms": deadline}
        refused(client.post("/v1/models/lenet5:predict", content=body, headers=headers), status)


def test_a_client_that_hangs_up_is_not_computed_for(service: Service, client: httpx.Client) -> None:
    def cancelled() -> float:
        series = 'model_server_requests_total{code="CANCELLED",model="lenet5",protocol="http",version="1"}'
        return service.metric(series)

    # Some 20 ms of decoding each: left alone, it would take longer than any machine takes to notice.
    large = {"b64": base64.b64encode(encode(np.zeros((2000, 2000, 3), np.uint8))).decode()}
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 0, 20)
    before = cancelled()
    connection = http.client.HTTPConnection("127.0.0.1", service.http_port)
    connection.request("POST", "/v1/models/lenet5:predict", json.dumps({"instances": [large] * 60}))
    service.wait_until(lambda: service.metric("model_server_requests_in_flight") == 1, 10)
    connection.close()
    service.wait_until(lambda: cancelled() == before + 1 and service.metric("model_server_requests_in_flight") == 0, 20)
    assert ask(client, {"signature_name": "echo_int32", "inputs": [1]}).json() == {"outputs": [1]}
