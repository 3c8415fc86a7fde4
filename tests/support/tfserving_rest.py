"""TensorFlow Serving's REST API, asked."""

import json
from typing import Any

import httpx

from tests.support import saved_model_zoo as zoo


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
