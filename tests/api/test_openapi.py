"""The OpenAPI description: valid, whole, and true: its examples work as they stand, and generated clients do too."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openapi_spec_validator
import pytest

from service.api.http.prefix import is_path_prefix
from tests.support.service_process import Service

_REF = "#/components/schemas/"


@pytest.fixture(scope="module")
def description(service: Service) -> dict[str, Any]:
    return dict(httpx.get(f"{service.url}/openapi.json").json())


def list_operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_it_is_valid(description: dict[str, Any]) -> None:
    openapi_spec_validator.validate(description)


def test_every_operation_has_its_own_name_and_says_what_it_takes_and_gives(description: dict[str, Any]) -> None:
    operations = list(list_operations(description))
    names = Counter(operation["operationId"] for _, _, operation in operations)
    assert [name for name, count in names.items() if count > 1] == []
    schemas = description["components"]["schemas"]
    for method, path, operation in operations:
        answer = operation["responses"]["200"]["content"]
        assert all("$ref" in one["schema"] or one["schema"] for one in answer.values()), path
        assert ("requestBody" in operation) == (method == "post"), path
        declared = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), path
    for name in re.findall(rf'"{_REF}(\w+)"', json.dumps(description)):
        assert name in schemas, name
    assert {path.split("/")[1] for path in description["paths"]} >= {"v1", "v2", "predict", "embed"}
    assert list(description["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]


def test_no_path_of_ours_is_taken_for_a_proxy_s_prefix(description: dict[str, Any]) -> None:
    own = {path.split("/")[1] for path in description["paths"]}
    assert [name for name in (*own, "page", "docs") if is_path_prefix(f"/{name}")] == []


def test_its_examples_work_and_answers_are_as_it_says(service: Service, description: dict[str, Any]) -> None:
    values = {"model": "lenet5", "version": "1", "label": "float32", "name": "7-0.png"}
    asked = 0
    with httpx.Client(base_url=service.url, timeout=30) as client:
        for method, path, operation in list_operations(description):
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if method == "post" and "example" not in body:  # tf.Examples are for other models than this one
                continue
            reply = client.request(method, path.format(**values), json=body.get("example"))
            assert reply.status_code == 200, (path, reply.text)
            answer = operation["responses"]["200"]["content"]
            kind = reply.headers["content-type"].partition(";")[0]
            assert kind in answer, path
            if kind == "application/json":
                schema = answer[kind]["schema"] | {"components": description["components"]}
                jsonschema.validate(reply.json(), schema)
            asked += 1
    assert asked > 25


def test_a_generated_client_works(
    service: Service, description: dict[str, Any], samples: dict[str, bytes], tmp_path: Path
) -> None:
    program = shutil.which("openapi-python-client")
    if program is None:
        pytest.skip("openapi-python-client is not installed")
    (tmp_path / "openapi.json").write_text(json.dumps(description))
    (tmp_path / "seven.png").write_bytes(samples["7"])
    generate = [program, "generate", "--path", "openapi.json", "--output-path", "generated", "--meta", "none"]
    subprocess.run(generate, cwd=tmp_path, check=True, timeout=120, capture_output=True)
    use = """
import io, sys
from generated import Client, models
from generated.api.predict import predict
from generated.api.open_inference_protocol import infer, model_config
from generated.types import File
client, image = Client(sys.argv[1], raise_on_unexpected_status=True), open("seven.png", "rb").read()
print(predict.sync("lenet5", client=client, body=File(io.BytesIO(image)), top_k=2).predictions[0].label)
form = models.PredictFilesBody(image=File(io.BytesIO(image), "7.png", "image/png"))
print(predict.sync("lenet5", client=client, body=form).predictions[0].label)
print(model_config.sync("lenet5", client=client).max_batch_size)
print(predict.sync("nobody", client=client, body=form).error.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", use, service.url], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["7", "7", "1024", "NOT_FOUND"], done.stderr


def test_answers_to_random_requests_are_as_it_says(service: Service, tmp_path: Path) -> None:
    """Valid requests may be refused: valid JSON is seldom an image."""
    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is not installed")
    checks = (
        *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
        *("response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance"),
    )
    command = [program, "run", f"{service.url}/openapi.json", "--max-time", "20", "--checks", ",".join(checks)]
    done = subprocess.run([*command, "--no-color"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-5000:]
