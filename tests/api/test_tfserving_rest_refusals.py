"""What TensorFlow Serving's REST API refuses, in its words, codes and shape."""

import httpx
import pytest

from tests.support.tfserving_rest import ask, refused


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/v1/models", 400, "Missing model name"),
        ("GET", "/v1/models/versions/1", 400, "Missing model name"),
        ("GET", "/v1/models/", 400, "Malformed request: GET /v1/models/"),
        ("GET", "/v1/nothing", 400, "Malformed request: GET /v1/nothing"),
        ("GET", "/v1/models/lenet5:predict?x=1", 400, "Malformed"),
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
        ("POST", "/v1/models/nobody:predict", 404, "Latest(nobody)"),
        ("POST", "/v1/models/lenet5/versions/9:predict", 404, "Specific(lenet5, 9)"),
        ("POST", "/v1/models/lenet5/labels/nope:predict", 400, "label 'nope'"),
        ("POST", "/v1/models/nobody/labels/nope:predict", 404, "nobody"),
        ("PUT", "/v1/nothing", 400, "Malformed request: PUT"),
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


def test_a_version_past_int64_is_refused(client: httpx.Client) -> None:
    for number in (str(2**63), "9" * 5000):
        for reply in (
            client.get(f"/v1/models/lenet5/versions/{number}"),
            client.post(f"/v1/models/lenet5/versions/{number}:predict", content="{}"),
        ):
            assert reply.status_code == 400
            assert reply.json() == {"error": "invalid version: expected a number up to 9223372036854775807"}
    refused(client.get(f"/v1/models/lenet5/versions/{2**63 - 1}"), 404)


def test_a_wrong_method_is_refused_in_its_shape(client: httpx.Client) -> None:
    assert "takes GET, HEAD" in refused(client.post("/v1/models/lenet5", json={}), 405)
    assert "takes POST" in refused(client.get("/v1/models/lenet5/versions/1:predict"), 405)


def test_methods_without_a_body(client: httpx.Client) -> None:
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


def test_too_large_a_body_is_refused_in_this_apis_shape(client: httpx.Client) -> None:
    assert "larger than" in refused(ask(client, b" " * 40_000_000), 413)
