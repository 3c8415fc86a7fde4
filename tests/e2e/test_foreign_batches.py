"""Anybody's model under callers that come at once: each gets what it would have got alone, over every protocol."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from tests.support import saved_model_zoo as zoo
from tests.support import tflite_zoo as lite_zoo
from tests.support.service_process import Service, running

Rows = list[list[float]]
Ask = Callable[[str, str, Rows], Awaitable[Any]]

DELAY = ["--max-batch-delay-ms", 200]


def times_weights(x: Rows) -> Rows:
    return (np.asarray(x) @ lite_zoo.WEIGHTS).tolist()  # type: ignore[no-any-return]


WANTED: dict[tuple[str, str], Callable[[Rows], Any]] = {
    ("rows", "serving_default"): lambda x: x,
    ("rows", "constant"): lambda x: {"y": x, "names": ["cat", "dog"]},
    ("rows", "one_row"): lambda x: [[1, 2]],
    ("rows", "a_scalar"): lambda x: 2.5,
    ("rows", "undeclared"): lambda x: [[1, 2]],
    ("rows", "across"): lambda x: np.cumsum(x, axis=0).tolist(),
    ("rows", "first_three"): lambda x: x[:3],
    ("lite", "dense"): times_weights,
    ("lite", "open"): times_weights,
    ("lite", "across"): lambda x: np.cumsum(x, axis=0).tolist(),
    ("lite", "one_row"): times_weights,
}
SHARED = [("rows", "serving_default"), ("lite", "dense")]
BY_PROBE = {"undeclared": "'y' has shape [1, 2], expected 2 rows", "across": "other rows"}
DECLARED = {"constant": "'names'", "one_row": "'y'", "a_scalar": "'y'"}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    repository = tmp_path_factory.mktemp("foreign")
    zoo.write_rows(repository)
    lite_zoo.write(repository / "lite" / "1" / "model.tflite")
    with running("--repository", repository, *DELAY) as service:
        service.wait_ready()
        yield service


@pytest.fixture(scope="module", params=["embedded", "in front of another"])
def service(
    request: pytest.FixtureRequest, upstream: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    if request.param == "embedded":
        yield upstream
        return
    target = f"127.0.0.1:{upstream.grpc_port}"
    absent = tmp_path_factory.mktemp("none") / "absent"
    with running("--backend", "tfserving", "--target", target, "--repository", absent, *DELAY) as gateway:
        gateway.wait_ready()
        yield gateway


async def at_once(ask: Ask, model: str, signature: str, callers: int) -> None:
    """Callers of one, two and three rows, each with numbers of its own."""
    width = 2 if model == "rows" else 4
    asked = [[[caller + row / 4 + 1] * width for row in range(1 + caller % 3)] for caller in range(callers)]
    answers = await asyncio.gather(*(ask(model, signature, x) for x in asked))
    for x, answer in zip(asked, answers, strict=True):
        assert answer == WANTED[model, signature](x), (signature, x)


def over_http(service: Service, model: str, signature: str, callers: list[int]) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:

            async def ask(model: str, signature: str, x: Rows) -> Any:
                body = {"signature_name": signature, "inputs": {"x": x}}
                reply = await client.post(f"/v1/models/{model}:predict", content=json.dumps(body))
                assert reply.status_code == 200, reply.text
                return reply.json()["outputs"]

            for count in callers:
                await at_once(ask, model, signature, count)

    asyncio.run(main())


@pytest.mark.parametrize(("model", "signature"), WANTED)
def test_nobody_gets_anothers_rows_over_http(service: Service, model: str, signature: str) -> None:
    over_http(service, model, signature, [2, 3, 9])


@pytest.mark.parametrize("signature", ["constant", "across", "first_three"])
def test_nobody_gets_anothers_rows_over_grpc(service: Service, signature: str) -> None:
    async def main() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            async def ask(model: str, signature: str, x: Rows) -> Any:
                request = predict_pb2.PredictRequest()
                request.model_spec.name, request.model_spec.signature_name = model, signature
                codec.fill_request(request.inputs["x"], np.asarray(x, np.float32))
                reply = await stub.Predict(request, timeout=60)
                found = {alias: codec.to_array(alias, tensor) for alias, tensor in reply.outputs.items()}
                plain = {
                    alias: [text.decode() for text in array] if array.dtype == object else array.tolist()
                    for alias, array in found.items()
                }
                return plain if len(plain) > 1 else plain["y"]

            for callers in (2, 3, 9):
                await at_once(ask, "rows", signature, callers)

    asyncio.run(main())


@pytest.mark.parametrize(("model", "signature"), SHARED)
def test_what_answers_row_for_row_still_shares(service: Service, model: str, signature: str) -> None:
    def batches() -> int:
        page = httpx.get(f"{service.url}/metrics").text
        (line,) = [
            line for line in page.splitlines() if line.startswith(f'model_server_batch_rows_count{{model="{model}"')
        ]
        return int(float(line.split()[-1]))

    over_http(service, model, signature, [1])
    before = batches()
    over_http(service, model, signature, [9])
    assert batches() - before < 6


def test_operators_see_what_shares_and_why_not(service: Service) -> None:
    over_http(service, "rows", "first_three", [3])  # only four rows give it away
    told = httpx.get(f"{service.url}/models/rows").json()["batching"]
    assert told["serving_default"] == {"shared": True}
    for signature, reason in {**BY_PROBE, **DECLARED, "first_three": "'y' has shape [3, 2]"}.items():
        assert not told[signature]["shared"] and reason in told[signature]["reason"], told[signature]
    told = httpx.get(f"{service.url}/models/lite").json()["batching"]
    assert told["dense"]["shared"] and not told["one_row"]["shared"] and not told["across"]["shared"]
    lines = [line for line in service.log().splitlines() if "rows/1: requests do not share batches" in line]
    assert len(lines) == 1 and "'names'" in lines[0]
    assert sum("'first_three' run alone from now on" in line for line in service.log().splitlines()) == 1


def test_a_wrong_shape_for_a_tflite_is_its_senders_fault_and_leaves_no_trace(service: Service) -> None:
    before = len(service.log())
    for signature, width in (("open", 5), ("dense", 3)):
        said = set()
        for _ in range(10):
            body = {"signature_name": signature, "inputs": {"x": [[1.0] * width]}}
            reply = httpx.post(f"{service.url}/v1/models/lite:predict", json=body, timeout=30)
            assert reply.status_code == 400 and "shape" in reply.json()["error"], reply.text
            said.add(reply.text)
        assert len(said) == 1 and len(said.pop()) < 500
        over_http(service, "lite", signature, [2])
    assert len(service.log()) - before < 3000


@pytest.mark.parametrize("opted_out", ["lite", "alias"])
def test_routes_opt_out(tmp_path: Path, opted_out: str) -> None:
    """A model's own route speaks for the model, whatever name it is asked by; another one for its own calls."""
    lite_zoo.write(tmp_path / "models" / "lite" / "1" / "model.tflite")
    own = "  lite: {batching: false}\n" if opted_out == "lite" else ""
    alias = "{target: lite/1}" if opted_out == "lite" else "{target: lite/1, batching: false}"
    routes = tmp_path / "routes.yaml"
    routes.write_text(f"routes:\n{own}  alias: {alias}\n")
    with running("--repository", tmp_path / "models", "--routes", routes, "--max-batch-delay-ms", 5000) as service:
        service.wait_ready()
        told = httpx.get(f"{service.url}/models/alias").json()["batching"]["dense"]
        assert not told["shared"] and "batching: false" in told["reason"]
        assert httpx.get(f"{service.url}/models/lite").json()["batching"]["dense"]["shared"] == (not own)
        x = [[1.0, 2.0, 3.0, 4.0]]
        body = {"signature_name": "dense", "instances": x}
        reply = httpx.post(f"{service.url}/predict/alias", json=body, timeout=60)
        assert reply.json()["outputs"] == {"y": times_weights(x)}
        waited = re.search(r"batch;dur=([\d.]+)", reply.headers["server-timing"])
        assert waited is not None and float(waited[1]) < 2000, "nobody waits for company"
