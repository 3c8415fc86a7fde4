"""The upstream backend against a small real gRPC server that answers as it is told."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from service.backends.tf_serving import TFServingBackend
from service.errors import BackendFailed, NotReady
from service.wire.stubs import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    meta_graph_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    types_pb2,
)


class Upstream(model_service_pb2_grpc.ModelServiceServicer, prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # generated
    """Serves version 1 of `models`; `codes` makes a model's status fail, `faults` counts failing metadata calls."""

    def __init__(self) -> None:
        self.models = {"m1"}
        self.codes: dict[str, grpc.StatusCode] = {}
        self.faults = 0

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        name = request.model_spec.name
        if name not in self.models:
            await context.abort(self.codes.get(name, grpc.StatusCode.NOT_FOUND), "no")
        reply = get_model_status_pb2.GetModelStatusResponse()
        reply.model_version_status.add(version=1, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE)
        return reply

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        if self.faults:
            self.faults -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "one moment")
        definitions = get_model_metadata_pb2.SignatureDefMap()
        signature = meta_graph_pb2.SignatureDef()
        signature.inputs["x"].dtype = signature.outputs["y"].dtype = types_pb2.DT_FLOAT
        definitions.signature_def["serving_default"].CopyFrom(signature)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.metadata["signature_def"].Pack(definitions)
        return reply

    async def Predict(self, request: Any, context: Any) -> Any:
        reply = predict_pb2.PredictResponse()
        reply.outputs["y"].dtype = types_pb2.DT_BFLOAT16
        return reply


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, TFServingBackend]]:
    servicer, server = Upstream(), grpc.aio.server()
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    backend = TFServingBackend(f"127.0.0.1:{port}")
    yield servicer, backend
    await backend.close()
    await server.stop(None)


Pair = tuple[Upstream, TFServingBackend]


async def test_models_are_found_once_asked_for(upstream: Pair) -> None:
    _, backend = upstream
    assert await backend.find() == {}
    assert await backend.ask("m1") and not await backend.ask("m2") and not await backend.ask("no/such name")
    assert await backend.find() == {"m1": {1: ""}}


async def test_trouble_with_one_name_stops_no_other(upstream: Pair) -> None:
    servicer, backend = upstream
    servicer.codes["evil"] = grpc.StatusCode.UNKNOWN
    assert await backend.ask("m1") and not await backend.ask("evil")
    servicer.models.add("m2")
    assert await backend.ask("m2")
    assert set(await backend.find()) == {"m1", "m2"}


async def test_what_is_gone_may_come_back(upstream: Pair) -> None:
    servicer, backend = upstream
    await backend.ask("m1")
    servicer.models.clear()
    assert await backend.find() == {}
    servicer.models.add("m1")
    assert await backend.ask("m1") and set(await backend.find()) == {"m1"}


async def test_a_passing_fault_while_loading_is_not_for_ever(upstream: Pair) -> None:
    servicer, backend = upstream
    servicer.faults = 1
    with pytest.raises(NotReady, match="one moment"):
        await backend.load("m1", 1)
    assert set((await backend.load("m1", 1)).manifest.signatures) == {"serving_default"}


async def test_an_unreadable_answer_is_the_upstreams_fault(upstream: Pair) -> None:
    _, backend = upstream
    loaded = await backend.load("m1", 1)
    with pytest.raises(BackendFailed, match="DT_BFLOAT16"):
        await loaded.runner.run("serving_default", {"x": np.zeros(1, np.float32)}, (), None)
