"""The gateway in front of a server that speaks PredictionService: here, a second process of this very service."""

import asyncio
import base64
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.preprocessing import decode as images
from service.protobuf import tensors as codec
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc
from tests.support import procfs
from tests.support.fake_tfserving import Scripted, serving
from tests.support.image_matrix import after_start, exif, segment, turned
from tests.support.images import encode, photo
from tests.support.service_process import Service, running
from tests.support.testdata import needs_testdata, with_half_plus_two

PHOTO = encode(photo(), "JPEG")
B64 = base64.b64encode(PHOTO).decode()


@pytest.fixture(scope="module")
def upstream(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    repository = with_half_plus_two(lenet5_repository, tmp_path_factory.mktemp("upstream"))
    with running("--repository", repository) as service:
        service.wait_ready()
        yield service


def gateway_arguments(upstream: Service, repository: Path) -> list[object]:
    target = f"127.0.0.1:{upstream.grpc_port}"
    return ["--backend", "tfserving", "--target", target, "--repository", repository, "--poll-interval-seconds", 0.2]


@pytest.fixture(scope="module", params=["with manifests", "without"])
def gateway(
    request: pytest.FixtureRequest, upstream: Service, lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """With a copy of the models' folder beside it (labels, preprocessing), or knowing only what the upstream tells."""
    repository = lenet5_repository if request.param == "with manifests" else tmp_path_factory.mktemp("none") / "absent"
    with running(*gateway_arguments(upstream, repository)) as service:
        service.wait_ready()
        yield service


def test_samples_and_reports_are_shown_where_the_models_folder_is_here_too(
    gateway: Service, lenet5_repository: Path
) -> None:
    here = str(lenet5_repository) in " ".join(map(str, gateway.process.args))  # type: ignore[arg-type]  # a list
    listed = httpx.get(f"{gateway.url}/models/lenet5/files").json()
    assert (bool(listed["samples"]), listed["report"]) == (here, here)
    assert httpx.get(f"{gateway.url}/models/lenet5/report").status_code == (200 if here else 404)
    seen = httpx.post(f"{gateway.url}/predict/lenet5?seen=true", content=PHOTO)
    assert seen.status_code == (200 if here else 400), "a graph that decodes by itself shows nothing"
    assert here or "no pixels" in seen.json()["error"]["message"]


def test_answers_are_the_upstreams(gateway: Service, upstream: Service) -> None:
    direct, through = (
        httpx.post(f"{service.url}/predict/lenet5?top_k=10", content=PHOTO, timeout=30)
        for service in (upstream, gateway)
    )
    assert direct.status_code == through.status_code == 200, through.text
    assert direct.json() == through.json()


def test_features_are_the_upstreams(gateway: Service, upstream: Service) -> None:
    direct, through = (httpx.post(f"{service.url}/embed/lenet5", content=PHOTO) for service in (upstream, gateway))
    assert direct.status_code == through.status_code == 200, through.text
    np.testing.assert_allclose(through.json()["embeddings"], direct.json()["embeddings"], atol=1e-5)


def test_one_call_upstream_gives_predictions_and_features(upstream: Service, lenet5_repository: Path) -> None:
    """Where the gateway knows the manifest; the index of training images is beside it too."""
    with running(*gateway_arguments(upstream, lenet5_repository)) as service:
        service.wait_ready()
        for target in ("predict/lenet5?features=true&known=true", "similar/lenet5"):
            direct, through = (httpx.post(f"{each.url}/{target}", content=PHOTO) for each in (upstream, service))
            assert direct.status_code == through.status_code == 200, through.text
            assert direct.json() == through.json()


def test_grpc_passes_through(gateway: Service) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "lenet5", "image"
    codec.fill_request(request.inputs["image"], photo()[np.newaxis, :28, :28])
    with gateway.channel() as channel:
        reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    assert len(reply.outputs["probabilities"].float_val) == 10 and reply.model_spec.version.value == 1


async def test_what_goes_upstream_stands_upright(lenet5_repository: Path) -> None:
    """TensorFlow reads no EXIF: whoever knows the model's preprocessing sends it pixels, turned already."""
    asked: list[tuple[str, np.ndarray]] = []

    async def answer(request: Any, context: Any) -> Any:
        ((alias, tensor),) = request.inputs.items()
        asked.append((request.model_spec.signature_name, codec.to_array(alias, tensor)))
        reply = predict_pb2.PredictResponse()
        rows = np.full((len(asked[-1][1]), 10), 0.1, np.float32)
        reply.outputs["probabilities"].CopyFrom(codec.to_proto(rows))
        return reply

    upstream = Scripted()
    upstream.models, upstream.answer = {"lenet5": {1}}, answer
    seen = Image.fromarray(photo())
    stored = encode(np.asarray(turned(seen, 6)), "JPEG", quality=95)
    async with serving(upstream):
        target = ["--backend", "tfserving", "--target", f"127.0.0.1:{upstream.port}", "--repository", lenet5_repository]
        with running(*target) as gateway:
            await asyncio.to_thread(gateway.wait_ready)
            body = after_start(stored, segment(0xE1, b"Exif\0\0" + exif(6)))
            async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
                reply = await client.post("/predict/lenet5", content=body)
    assert reply.status_code == 200, reply.text
    signature, pixels = asked[-1]
    assert signature == "image"
    wanted = images.decode(encode(photo()), 28, 28).astype(int)
    assert np.abs(pixels[0] - wanted).mean() < 2


@needs_testdata
def test_anybodys_model_upstream(gateway: Service) -> None:
    body = {"instances": [[1.0], [2.0]]}
    reply = httpx.post(f"{gateway.url}/predict/half_plus_two", json=body, timeout=30)
    assert reply.json()["outputs"] == {"y": [[2.5], [3.0]]}


@needs_testdata
def test_tensorflow_servings_rest_in_front(gateway: Service, upstream: Service) -> None:
    """Its clients change an address, and are told what the upstream would have told them."""
    for name, body in (("half_plus_two", {"inputs": [1, 2]}), ("lenet5", {"instances": [{"b64": B64}] * 2})):
        for path in ("", "/metadata"):
            direct, through = (httpx.get(f"{service.url}/v1/models/{name}{path}") for service in (upstream, gateway))
            assert direct.status_code == 200 and direct.json() == through.json()
        direct, through = (
            httpx.post(f"{service.url}/v1/models/{name}:predict", json=body, timeout=30)
            for service in (upstream, gateway)
        )
        assert direct.status_code == 200 and direct.json() == through.json()


@pytest.mark.parametrize(("path", "status"), [("nobody", 404), ("lenet5?version=9", 404)])
def test_what_the_upstream_lacks_is_not_found(gateway: Service, path: str, status: int) -> None:
    reply = httpx.post(f"{gateway.url}/predict/{path}", content=PHOTO, timeout=30)
    assert reply.status_code == status and reply.json()["error"]["code"] == "NOT_FOUND"


def test_bad_images_stay_the_clients_fault(gateway: Service) -> None:
    """Whoever decodes: without manifests the bytes go upstream, and its refusal comes back as ours."""
    reply = httpx.post(f"{gateway.url}/predict/lenet5", content=b"nonsense", timeout=30)
    assert reply.status_code == 400 and "no JPEG" in reply.json()["error"]["message"]


def test_bad_requests_leave_their_batch_alone(gateway: Service) -> None:
    async def storm() -> list[tuple[bool, int]]:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as client:
            bodies = [PHOTO if turn % 4 else b"nonsense" for turn in range(80)]
            replies = await asyncio.gather(*(client.post("/predict/lenet5", content=body) for body in bodies))
            return [(body == PHOTO, reply.status_code) for body, reply in zip(bodies, replies, strict=True)]

    assert all(status == (200 if good else 400) for good, status in asyncio.run(storm()))


def test_the_gateway_never_loads_tensorflow(gateway: Service) -> None:
    maps = procfs.list_mapped(gateway.process.pid)
    assert "tensorflow" not in maps and "litert" not in maps.lower()


def test_a_killed_upstream_is_a_clear_503_and_its_return_is_noticed(lenet5_repository: Path, tmp_path: Path) -> None:
    with running("--repository", lenet5_repository) as upstream:
        upstream.wait_ready()
        port = upstream.grpc_port
        with running(*gateway_arguments(upstream, tmp_path)) as gateway:
            gateway.wait_ready()
            assert httpx.post(f"{gateway.url}/predict/lenet5", content=PHOTO, timeout=30).status_code == 200
            upstream.process.kill()
            upstream.process.wait()
            reply = httpx.post(f"{gateway.url}/predict/lenet5", content=PHOTO, timeout=30)
            assert reply.status_code == 503 and "no upstream could answer" in reply.json()["error"]["message"]
            assert "127.0.0.1" not in reply.text, "addresses are for the log"
            gateway.wait_until(lambda: f"127.0.0.1:{port} answered UNAVAILABLE" in gateway.log())
            with running("--repository", lenet5_repository, "--grpc-port", port) as again:
                again.wait_ready()
                gateway.wait_until(
                    lambda: httpx.post(f"{gateway.url}/predict/lenet5", content=PHOTO, timeout=30).status_code == 200,
                    30,
                )
            assert gateway.stop() == 0


def test_no_upstream_at_the_start_is_not_ready_with_a_reason(tmp_path: Path) -> None:
    arguments = [
        "--backend",
        "tfserving",
        "--target",
        "127.0.0.1:1",
        "--repository",
        tmp_path,
        "--poll-interval-seconds",
        0.2,
    ]
    with running(*arguments) as gateway:
        gateway.wait_until(lambda: "127.0.0.1:1" in gateway.log())
        reply = httpx.get(f"{gateway.url}/readyz")
        assert reply.status_code == 503 and reply.json()["reason"] == "no upstream answers; the server's log says more"
        assert "127.0.0.1" not in httpx.post(f"{gateway.url}/predict/lenet5", content=PHOTO).text
        assert gateway.stop() == 0


def test_a_hung_upstream_holds_up_neither_deadlines_nor_the_end(lenet5_repository: Path, tmp_path: Path) -> None:
    with running("--repository", lenet5_repository) as upstream:
        upstream.wait_ready()
        with running(*gateway_arguments(upstream, tmp_path)) as gateway:
            gateway.wait_ready()
            assert httpx.post(f"{gateway.url}/predict/lenet5", content=PHOTO, timeout=30).status_code == 200
            upstream.process.send_signal(signal.SIGSTOP)
            try:
                for name in ("lenet5", "unheard-of"):
                    started = time.monotonic()
                    deadline = {"x-request-deadline-ms": "500"}
                    reply = httpx.post(f"{gateway.url}/predict/{name}", content=PHOTO, headers=deadline, timeout=30)
                    assert reply.status_code == 504 and time.monotonic() - started < 2, (name, reply.text)
                for _ in range(10):  # more than there are slots, and no deadline: the clients just leave
                    with contextlib.suppress(httpx.ReadTimeout):  # or are told, once the hang has been noticed
                        reply = httpx.post(f"{gateway.url}/predict/lenet5", content=PHOTO, timeout=0.1)
                        assert reply.status_code == 503, reply.text
                started = time.monotonic()
                assert gateway.stop() == 0
                assert time.monotonic() - started < 15
            finally:
                upstream.process.send_signal(signal.SIGCONT)
