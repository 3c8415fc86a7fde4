"""Good requests of a process of their own, beside whatever else is done to a service: every answer is checked."""

import asyncio
import json
import multiprocessing
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray

from service.protobuf import tensors as codec
from service.protobuf.stubs import oip_pb2, predict_pb2
from service.types import strings
from tests.support.plain_http import Connection

_PAUSE = 0.02  # seconds between two requests of one client, on average
_PATIENCE = 30.0  # seconds for an answer
_AS_GOOD_AS_EQUAL = 1e-5  # batches of other sizes are added up in another order
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_INFER = "/inference.GRPCInferenceService/ModelInfer"

Probabilities = NDArray[np.float32]


@dataclass
class Account:
    """What came of the good requests. `cut` were lost with their connection, `failed` were refused or late."""

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def percentile(self, client: str, percent: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.seconds[client], percent)) * 1000 if self.seconds.get(client) else float("nan")


class Neighbours:
    """Ask from entering until leaving; then `account` says how it went."""

    def __init__(self, http_port: int, grpc_port: int, model: Path, key: str = "") -> None:
        """`model` is a folder of one version of lenet5, with its samples; `key` an API key to ask with."""
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, http_port, grpc_port, model, key), daemon=True)
        self.account = Account()

    def __enter__(self) -> Self:
        self._process.start()
        if not self._ours.poll(60):
            raise RuntimeError("the neighbours do not get their first answers")
        self._ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._ours.send("stop")
            self.account = self._ours.recv() if self._ours.poll(2 * _PATIENCE) else Account(failed=["no account"])
        except (OSError, EOFError):
            self.account = Account(failed=["the process of the neighbours ended"])
        self._process.join(5)
        self._process.kill()


def _work(parent: Any, http_port: int, grpc_port: int, model: Path, key: str) -> None:
    asyncio.run(_ask(parent, http_port, grpc_port, model, {"x-api-key": key} if key else {}))


async def _ask(parent: Any, http_port: int, grpc_port: int, model: Path, key: dict[str, str]) -> None:
    digits = sorted((path.name, path.read_bytes()) for path in (model / "assets.extra" / "samples").glob("*.png"))
    account, stop = Account(), asyncio.Event()
    clients = {
        "/predict": _http(http_port, key),
        "/v2": _http_oip(http_port, key),
        "gRPC Predict": _tf_serving(grpc_port, key),
        "gRPC ModelInfer": _oip(grpc_port, key),
    }
    expected = [await clients["/predict"](image) for _, image in digits]
    for (name, _), probabilities in zip(digits, expected, strict=True):
        assert str(int(probabilities.argmax())) == name[0], f"{name} is taken for a {probabilities.argmax()}"
    questions = [(image, probabilities) for (_, image), probabilities in zip(digits, expected, strict=True)]
    asking = [asyncio.create_task(_keep(name, ask, questions, account, stop)) for name, ask in clients.items()]
    parent.send("asking")
    await asyncio.to_thread(parent.recv)
    stop.set()
    await asyncio.gather(*asking)
    parent.send(account)


async def _keep(
    name: str,
    ask: Callable[[bytes], Awaitable[Probabilities]],
    questions: list[tuple[bytes, Probabilities]],
    account: Account,
    stop: asyncio.Event,
) -> None:
    chance, taken = random.Random(name), account.seconds.setdefault(name, [])
    while not stop.is_set():
        image, expected = chance.choice(questions)
        began = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE):
                got = await ask(image)
        except (OSError, EOFError, _Cut) as error:
            account.cut.append(f"{name}: {error!r}"[:200])
        except Exception as error:
            account.failed.append(f"{name}: {error!r}"[:300])
        else:
            account.answered += 1
            taken.append(time.monotonic() - began)
            if got.shape != expected.shape or not np.allclose(got, expected, rtol=0, atol=_AS_GOOD_AS_EQUAL):
                account.wrong.append(f"{name}: {got.tolist()} instead of {expected.tolist()}")
        await asyncio.sleep(chance.uniform(0, 2 * _PAUSE))


class _Cut(Exception):
    """gRPC's word for a connection that is gone."""


def _http(port: int, key: dict[str, str]) -> Callable[[bytes], Awaitable[Probabilities]]:
    connection = Connection("127.0.0.1", port)

    async def ask(image: bytes) -> Probabilities:
        reply = await connection.post("/predict/lenet5?top_k=10", image, {"content-type": "image/png"} | key)
        if reply.status != 200:
            raise ValueError(f"{reply.status} {reply.body[:200]!r}")
        (prediction,) = json.loads(reply.body)["predictions"]
        by_label = {one["label"]: one["probability"] for one in prediction["top_k"]}
        return np.asarray([by_label[str(digit)] for digit in range(10)], np.float32)

    return ask


def _http_oip(port: int, key: dict[str, str]) -> Callable[[bytes], Awaitable[Probabilities]]:
    connection = Connection("127.0.0.1", port)

    async def ask(image: bytes) -> Probabilities:
        size = {"binary_data_size": len(image) + 4}
        asked = {"inputs": [{"name": "image_bytes", "shape": [1], "datatype": "BYTES", "parameters": size}]}
        head = json.dumps(asked | {"outputs": [{"name": "probabilities"}]}).encode()
        body = head + len(image).to_bytes(4, "little") + image
        headers = {"inference-header-content-length": str(len(head))} | key
        reply = await connection.post("/v2/models/lenet5/infer", body, headers)
        if reply.status != 200:
            raise ValueError(f"{reply.status} {reply.body[:200]!r}")
        return np.asarray(json.loads(reply.body)["outputs"][0]["data"], np.float32)

    return ask


def _tf_serving(port: int, key: dict[str, str]) -> Callable[[bytes], Awaitable[Probabilities]]:
    call = _call(port, key, _PREDICT, predict_pb2.PredictResponse)

    async def ask(image: bytes) -> Probabilities:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "lenet5"
        request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([image])))
        reply = await call(request)
        return np.asarray(reply.outputs["probabilities"].float_val, np.float32)

    return ask


def _oip(port: int, key: dict[str, str]) -> Callable[[bytes], Awaitable[Probabilities]]:
    call = _call(port, key, _INFER, oip_pb2.ModelInferResponse)

    async def ask(image: bytes) -> Probabilities:
        request = oip_pb2.ModelInferRequest(model_name="lenet5")
        request.inputs.add(name="image_bytes", datatype="BYTES", shape=[1]).contents.bytes_contents.append(image)
        request.outputs.add(name="probabilities")
        reply = await call(request)
        return np.frombuffer(reply.raw_output_contents[0], np.float32)

    return ask


def _call(port: int, key: dict[str, str], method: str, reply: Any) -> Callable[[Any], Awaitable[Any]]:
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{port}",
        options=[
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", 500),
        ],
    )
    ask: Any = channel.unary_unary(method, lambda message: message.SerializeToString(), reply.FromString)

    async def call(message: Any) -> Any:
        try:
            return await ask(message, timeout=_PATIENCE, metadata=tuple(key.items()))
        except grpc.aio.AioRpcError as error:
            lost = error.code() is grpc.StatusCode.UNAVAILABLE and "no model" not in (error.details() or "")
            raise (_Cut if lost else ValueError)(f"{error.code().name} {error.details()}") from None

    return call
