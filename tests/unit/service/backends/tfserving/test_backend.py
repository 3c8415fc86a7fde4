"""The upstream backend against a small real gRPC server that answers as it is told."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from service.backends.tfserving.backend import TFServingBackend
from service.errors import BackendFailed, NotReady
from service.protobuf.stubs import predict_pb2, types_pb2
from tests.support.fake_tfserving import Scripted, backend_of, serving


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Scripted, TFServingBackend]]:
    server = Scripted()
    async with serving(server), backend_of(server) as backend:
        yield server, backend


Pair = tuple[Scripted, TFServingBackend]


async def test_models_are_found_once_asked_for(upstream: Pair) -> None:
    _, backend = upstream
    assert await backend.find() == {}
    assert await backend.look_up("m1") and not await backend.look_up("m2") and not await backend.look_up("no/such name")
    assert await backend.find() == {"m1": {1: ""}}


async def test_trouble_with_one_name_stops_no_other(upstream: Pair) -> None:
    servicer, backend = upstream
    servicer.codes["evil"] = grpc.StatusCode.UNKNOWN
    assert await backend.look_up("m1") and not await backend.look_up("evil")
    servicer.models["m2"] = {1}
    assert await backend.look_up("m2")
    assert set(await backend.find()) == {"m1", "m2"}


async def test_what_is_gone_may_come_back(upstream: Pair) -> None:
    servicer, backend = upstream
    await backend.look_up("m1")
    servicer.models.clear()
    assert await backend.find() == {}
    servicer.models["m1"] = {1}
    assert await backend.look_up("m1") and set(await backend.find()) == {"m1"}


async def test_a_passing_fault_while_loading_is_not_for_ever(upstream: Pair) -> None:
    servicer, backend = upstream
    servicer.faults = 1
    with pytest.raises(NotReady, match="the upstream answered UNAVAILABLE") as refused:
        await backend.load("m1", 1)
    assert "one moment" in refused.value.for_log
    assert set((await backend.load("m1", 1)).manifest.signatures) == {"serving_default"}


async def test_an_unreadable_answer_is_the_upstreams_fault(upstream: Pair) -> None:
    server, backend = upstream
    loaded = await backend.load("m1", 1)

    async def unreadable(request: Any, context: Any) -> Any:
        reply = predict_pb2.PredictResponse()
        reply.outputs["y"].dtype = types_pb2.DT_BFLOAT16
        return reply

    server.answer = unreadable
    with pytest.raises(BackendFailed, match="DT_BFLOAT16"):
        await loaded.runner.run("serving_default", {"x": np.zeros(1, np.float32)}, (), None)
