"""Which API a path belongs to, and that each of them says every error."""

import json

import pytest

from service.api.http_app import APIS
from service.errors import Code, Overloaded
from service.types import ModelRef


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/v1/models/m:predict", "/v1/"),
        ("/V1/models/m", "/v1/"),
        ("/v1", ""),
        ("/v1%2Fmodels/m", ""),
        ("/v2", "/v2"),
        ("/v2/models/m/infer", "/v2"),
        ("/v22/models", ""),
        ("/predict/m", ""),
        ("/", ""),
        ("*", ""),
    ],
)
def test_a_path_belongs_to_one_api(path: str, prefix: str) -> None:
    api = APIS.find({"raw_path": path.encode()})
    assert api.prefix == prefix and set(api.status) == set(Code)


@pytest.mark.parametrize("path", ["/v1/models/m/versions/3:predict", "/v2/models/m/versions/3/infer", "/predict/m"])
def test_the_model_is_found_and_its_refusal_rendered_for_each(path: str) -> None:
    scope = {"path": path, "raw_path": path.encode(), "query_string": b"" if "v" in path else b"version=3"}
    assert APIS.find_ref(scope) == ModelRef("m", 3)
    status, body = APIS.render_error(scope, Overloaded("full", retry_after_ms=5), "id-1")
    error = json.loads(body)["error"]
    native = {"code": "OVERLOADED", "message": "full", "request_id": "id-1", "detail": {"retry_after_ms": 5}}
    assert status == 429 and error == (native if path == "/predict/m" else "full")


@pytest.mark.parametrize(
    "path", ["/v1/models/m/versions/x:predict", "/v2/models/m", "/predict", "/predict/m/x", "/metrics"]
)
def test_what_asks_for_no_prediction_names_no_model(path: str) -> None:
    assert APIS.find_ref({"path": path, "raw_path": path.encode(), "query_string": b""}) is None


def test_a_bad_query_is_for_its_route_to_say() -> None:
    assert APIS.find_ref({"path": "/predict/m", "raw_path": b"/predict/m", "query_string": b"top_k=0"}) is None
