"""TensorFlow Serving's REST API: paths, codes and shapes as its clients know them."""

import base64
import gzip
import http.client
import json
import re
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf import json_format

from service.wire.stubs import get_model_metadata_pb2, meta_graph_pb2, prediction_service_pb2_grpc, saved_model_pb2
from tests import zoo
from tests.images import encode
from tests.serving import Service
from tests.testdata import TESTDATA, needs_testdata

HALF_PLUS_TWO = "/v1/models/half_plus_two"


def refused(reply: httpx.Response, status: int) -> str:
    """The message of an error in TensorFlow Serving's shape."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    document = reply.json()
    assert list(document) == ["error"]
    return str(document["error"])


def ask(client: httpx.Client, body: Any, model: str = zoo.NAME) -> httpx.Response:
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return client.post(f"/v1/models/{model}:predict", content=content)


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


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/v1/models", 400, "Missing model name"),
        ("GET", "/v1/models/versions/1", 400, "Missing model name"),
        ("GET", "/v1/models/", 400, "Malformed request: GET /v1/models/"),
        ("GET", "/v1/nothing", 400, "Malformed request: GET /v1/nothing"),
        ("GET", "/v1/models/lenet5:predict", 400, "Malformed"),
        ("GET", "/v1/models/lenet5/versions/one", 400, "Malformed"),
        ("GET", "/v1/models/lenet5/versions/1/labels/x", 400, "Malformed"),
        ("GET", "/v1/models/lenet5/metadata?x", 400, "Malformed"),
        ("GET", "/v1/models/lenet5?x=1", 404, "Latest(lenet5?x=1)"),
        ("GET", "/v1/models/lenet5%3Fx", 404, "Latest(lenet5?x)"),
        ("GET", "/v1/models/a%2Fb%3ac", 404, "Latest(a/b:c)"),
        ("GET", "/v1/models/%ff", 404, "Latest(\ufffd)"),
        ("GET", "/v1/models/nobody", 404, "Latest(nobody)"),
        ("GET", "/v1/models/lenet5/versions/9", 404, "version 9"),
        ("GET", "/v1/models/nobody/metadata", 404, "Latest(nobody)"),
        ("GET", "/v1/models/lenet5/versions/9/metadata", 404, "Specific(lenet5, 9)"),
        ("GET", "/v1/models/lenet5/labels/nope/metadata", 400, "label 'nope'"),
        ("POST", "/v1/models/lenet5:PREDICT", 400, "lower case"),
        ("POST", "/v1/models/lenet5:predict?x=1", 400, "Malformed"),
        ("POST", "/v1/models/lenet5", 400, "Malformed"),
        ("POST", "/v1/models/nobody:predict", 404, "Latest(nobody)"),
        ("POST", "/v1/models/lenet5/versions/9:predict", 404, "Specific(lenet5, 9)"),
        ("POST", "/v1/models/lenet5/labels/nope:predict", 400, "label 'nope'"),
        ("POST", "/v1/models/nobody/labels/nope:predict", 400, "label 'nope'"),
        ("PUT", "/v1/models/lenet5", 400, "Malformed request: PUT"),
        ("DELETE", "/v1/models/lenet5", 400, "Malformed request: DELETE"),
        ("PATCH", "/v1/models/lenet5:predict", 400, "Malformed request: PATCH"),
    ],
)
def test_paths_that_lead_nowhere(client: httpx.Client, method: str, path: str, status: int, says: str) -> None:
    reply = client.request(method, path, content='{"instances": [1]}' if method == "POST" else None)
    assert says in refused(reply, status)


def test_paths_that_lead_somewhere(client: httpx.Client) -> None:
    status = client.get("/v1/models/lenet5").json()
    for path in (
        "/V1/MODELS/lenet5",
        "/v1/models/len%65t5",
        "/v1/models/lenet5/VERSIONS/01",
        "/v1/models/lenet5/METADATA",
    ):
        assert client.get(path).json() == status, path


def test_what_only_resembles_it_is_not_it(client: httpx.Client) -> None:
    for path in ("/v1", "/v1%2Fmodels/lenet5", "/v10/models"):
        reply = client.get(path)
        assert reply.status_code == 404 and reply.json()["error"]["code"] == "NOT_FOUND", path


def test_a_version_past_int64_has_nothing_to_say(client: httpx.Client) -> None:
    for number in (str(2**63), "9" * 5000):
        for reply in (
            client.get(f"/v1/models/lenet5/versions/{number}"),
            client.post(f"/v1/models/lenet5/versions/{number}:predict", content="{}"),
        ):
            assert (reply.status_code, reply.content) == (400, b"")
    refused(client.get(f"/v1/models/lenet5/versions/{2**63 - 1}"), 404)


def test_methods_without_a_body(client: httpx.Client) -> None:
    assert client.head("/v1/models/lenet5").status_code == 400
    for origin, status in (("http://a", 200), ("https://a", 200), ("ftp://a", 400), (None, 400)):
        reply = client.options("/v1/models/lenet5:predict", headers={"origin": origin} if origin else {})
        assert (reply.status_code, reply.content) == (status, b"")


def test_bad_json_comes_before_an_unknown_model(client: httpx.Client) -> None:
    assert "JSON" in refused(ask(client, "{", "nobody"), 400)
    assert "signature_name" in refused(ask(client, {"instances": [1], "signature_name": 5}, "nobody"), 400)
    refused(ask(client, {"nothing": "to ask"}, "nobody"), 404)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "empty"),
        ("{", "JSON"),
        ("[]", "object"),
        ("{}", "neither"),
        ('{"instances": [1], "inputs": [1]}', "both"),
        ('{"instances": []}', "at least one"),
        ('{"instances": [1], "signature_name": "nope"}', '"nope" not found'),
        ('{"instances": [[1], [2, 3]], "signature_name": "echo_float32"}', "size 2 at level 0; expected size 1"),
        ('{"instances": [1.5], "signature_name": "echo_int32"}', "int32"),
        ('{"inputs": [300], "signature_name": "echo_uint8"}', "uint8"),
    ],
)
def test_bad_bodies(client: httpx.Client, body: str, says: str) -> None:
    assert says in refused(ask(client, body), 400)


def test_the_content_type_is_not_looked_at(client: httpx.Client) -> None:
    for kind in ("text/plain", "image/png", "application/json"):
        body = '{"signature_name": "echo_int32", "inputs": [1]} and more'
        reply = client.post("/v1/models/zoo:predict", content=body, headers={"content-type": kind})
        assert reply.json() == {"outputs": [1]}


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


def test_too_large_a_body_is_refused_in_this_apis_shape(client: httpx.Client) -> None:
    assert "larger than" in refused(ask(client, b" " * 40_000_000), 413)


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
        page = client.get("/metrics").text
        ok = 'model_server_requests_total{code="OK",model="lenet5",protocol="http",version="1"}'
        rows = 'model_server_batch_rows_sum{model="lenet5",version="1"}'
        found = [re.search(rf"^{re.escape(series)} ([\d.e+]+)$", page, re.MULTILINE) for series in (ok, rows)]
        requests, batched = (float(match[1]) if match else 0.0 for match in found)
        return requests, batched

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
    def page() -> str:
        return client.get("/metrics").text

    def cancelled() -> float:
        series = 'model_server_requests_total{code="CANCELLED",model="lenet5",protocol="http",version="1"} '
        return float((re.findall(re.escape(series) + r"(\S+)", page()) or [0])[0])

    # Some 100 ms of decoding each: left alone, it would take longer than any machine takes to notice.
    large = {"b64": base64.b64encode(encode(np.zeros((5000, 5000, 3), np.uint8))).decode()}
    service.wait_until(lambda: "in_flight 0.0" in page(), 20)
    before = cancelled()
    connection = http.client.HTTPConnection("127.0.0.1", service.http_port)
    connection.request("POST", "/v1/models/lenet5:predict", json.dumps({"instances": [large] * 200}))
    service.wait_until(lambda: "in_flight 1.0" in page(), 10)
    connection.close()
    service.wait_until(lambda: cancelled() == before + 1 and "in_flight 0.0" in page(), 20)
    assert ask(client, {"signature_name": "echo_int32", "inputs": [1]}).json() == {"outputs": [1]}
