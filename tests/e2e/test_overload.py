"""More requests than are let in: refused at once, in each protocol's own words, and nothing worse."""

import asyncio
import threading
from pathlib import Path

import grpc
import httpx

from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from service.types import strings
from tests.support.images import encode, photo
from tests.support.service_process import Service, running

SLOW = encode(photo())  # a PNG: some 10 ms of decoding


def test_a_full_service_refuses_at_once_and_recovers(lenet5_repository: Path) -> None:
    async def storm(service: Service) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            return await asyncio.gather(*(client.post("/predict/lenet5", content=SLOW) for _ in range(40)))

    with running("--repository", lenet5_repository, "--max-in-flight", 2) as service:
        service.wait_ready()
        replies = asyncio.run(storm(service))
        refused = [reply for reply in replies if reply.status_code != 200]
        assert refused and len(refused) < len(replies)
        for reply in refused:
            assert reply.status_code == 429 and int(reply.headers["retry-after"]) >= 1
            assert reply.json()["error"]["code"] == "OVERLOADED"
        assert httpx.post(f"{service.url}/predict/lenet5", content=SLOW, timeout=30).status_code == 200
        assert service.stop() == 0


def test_a_full_service_is_resource_exhausted_in_grpc(lenet5_repository: Path) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "lenet5"
    request.inputs["image_bytes"].CopyFrom(codec.to_proto(strings([SLOW] * 4)))
    codes: list[grpc.StatusCode] = []

    with running("--repository", lenet5_repository, "--max-in-flight", 1) as service:
        service.wait_ready()
        with service.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            def call() -> None:
                try:
                    stub.Predict(request, timeout=60)
                    codes.append(grpc.StatusCode.OK)
                except grpc.RpcError as error:
                    codes.append(error.code())

            threads = [threading.Thread(target=call) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED} and len(codes) == 20
