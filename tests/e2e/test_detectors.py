"""Anybody's object detector: photos in, boxes out; no two requests share a run; the other APIs answer its tensors."""

import asyncio
import base64
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tritonclient import grpc as oip

from tests.support import detector
from tests.support.detector import GREEN, RED, draw
from tests.support.service_process import Service, running

PHOTO = draw(640, 480, (1, 5, RED), (6, 2, GREEN))
DETECTIONS = [
    ("apple", {"left": 400.0, "top": 60.0, "right": 480.0, "bottom": 120.0}),
    ("leaf", {"left": 160.0, "top": 360.0, "right": 240.0, "bottom": 420.0}),
]


def encode(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detectors")
    version = folder / "ssd" / "1"
    program = f"from pathlib import Path; from tests.support import detector; detector.write(Path({str(version)!r}))"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)  # TensorFlow stays out of here
    (version / "assets").mkdir(exist_ok=True)
    (version / "assets" / "labels.txt").write_text("apple\nleaf\n")
    return folder


@pytest.fixture(scope="module")
def upstream(repository: Path) -> Iterator[Service]:
    with running("--repository", repository, "--max-batch-delay-ms", 200) as service:
        service.wait_ready()
        yield service


@pytest.fixture(scope="module", params=["embedded", "in front of another"])
def service(request: pytest.FixtureRequest, upstream: Service, repository: Path) -> Iterator[Service]:
    if request.param == "embedded":
        yield upstream
        return
    target = f"127.0.0.1:{upstream.grpc_port}"
    with running("--backend", "tfserving", "--target", target, "--repository", repository) as gateway:
        gateway.wait_ready()
        yield gateway


def predict(service: Service, query: str = "", **sent: Any) -> dict[str, Any]:
    reply = httpx.post(f"{service.url}/predict/ssd{query}", timeout=60, **sent)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def list_boxes(prediction: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return sorted((each["label"], each["box"]) for each in prediction["detections"])


def test_a_photo_is_answered_with_boxes_in_its_pixels(service: Service) -> None:
    (prediction,) = predict(service, content=encode(PHOTO))["predictions"]
    assert (prediction["width"], prediction["height"]) == (640, 480) and list_boxes(prediction) == DETECTIONS
    apple = next(each for each in prediction["detections"] if each["label"] == "apple")
    assert apple["normalized_box"] == {"left": 0.625, "top": 0.125, "right": 0.75, "bottom": 0.25}
    assert apple["class"] == RED and apple["score"] == pytest.approx(220 / 255, abs=0.01)


def test_a_photo_larger_than_any_detector_takes_keeps_its_pixels(service: Service) -> None:
    large = PHOTO.resize((3200, 2400), Image.Resampling.NEAREST)
    (prediction,) = predict(service, content=encode(large, "JPEG"))["predictions"]
    assert (prediction["width"], prediction["height"]) == (3200, 2400)
    assert list_boxes(prediction) == [(label, {edge: 5 * at for edge, at in box.items()}) for label, box in DETECTIONS]


@pytest.mark.parametrize("signature", ["serving_default", "encoded"])
def test_boxes_lie_on_the_photo_as_it_stands_upright(service: Service, signature: str) -> None:
    """A camera held sideways: whether the gateway decodes, and turns it, or the graph, which cannot."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    data = encode(PHOTO.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    body = {"signature_name": signature, "instances": [{"b64": base64.b64encode(data).decode()}]}
    (prediction,) = predict(service, json=body)["predictions"]
    assert (prediction["width"], prediction["height"]) == (640, 480) and list_boxes(prediction) == DETECTIONS


def test_threshold_and_most_are_the_clients(service: Service) -> None:
    photo = draw(640, 480, *((row, row, RED) for row in range(7)))
    blended = Image.blend(photo, Image.new("RGB", photo.size, (90, 90, 90)), 0.6)  # all are below 0.5
    assert predict(service, content=encode(blended))["predictions"][0]["detections"] == []
    (prediction,) = predict(service, "?min_score=0.2&max_detections=3", content=encode(blended))["predictions"]
    assert len(prediction["detections"]) == 3
    for query in ("min_score=1.5", "min_score=nan", "min_score=-1", "min_score=", "max_detections=0"):
        reply = httpx.post(f"{service.url}/predict/ssd?{query}", content=encode(photo), timeout=60)
        name = query.partition("=")[0]
        assert reply.status_code == 400 and f"invalid {name}" in reply.json()["error"]["message"]


def test_pixels_as_numbers_are_boxes_too_and_so_are_several_photos(service: Service) -> None:
    small = PHOTO.resize((64, 48), Image.Resampling.NEAREST)
    (prediction,) = predict(service, json={"instances": [np.asarray(small).tolist()]})["predictions"]
    assert prediction["width"] == 64 and [label for label, _ in list_boxes(prediction)] == ["apple", "leaf"]
    body = {"signature_name": "any_number", "instances": [np.asarray(small).tolist(), np.asarray(small).tolist()]}
    assert predict(service, json=body)["predictions"] == [prediction, prediction]
    files = [("image", encode(PHOTO)), ("image", encode(PHOTO))]
    reply = httpx.post(f"{service.url}/predict/ssd", files=files, timeout=60)
    assert reply.status_code == 400 and "1 image a request, got 2" in reply.json()["error"]["message"]


def test_other_detectors_answer_with_their_outputs(service: Service) -> None:
    small = np.asarray(PHOTO.resize((64, 48), Image.Resampling.NEAREST)).tolist()
    outputs = predict(service, json={"signature_name": "proposals", "instances": [small]})["outputs"]
    assert np.shape(outputs["boxes"]) == (2, 4) and np.shape(outputs["scores"]) == (2,)
    outputs = predict(service, json={"signature_name": "yolo", "instances": [small]})["outputs"]
    assert np.shape(outputs["candidates"]) == (1, 64, 6)


def test_nobody_gets_boxes_of_anothers_photo(service: Service) -> None:
    """Six callers at once, each with a number of objects of its own; in one batch, boxes would be anybody's."""
    photos = [draw(64, 48, *((row, count, RED) for row in range(count))) for count in range(6)]

    async def main() -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:

            async def count_found(photo: Image.Image) -> int:
                body = {"signature_name": "proposals", "instances": [np.asarray(photo).tolist()]}
                reply = await client.post("/predict/ssd", json=body)
                return len(reply.json()["outputs"]["boxes"])

            assert list(await asyncio.gather(*map(count_found, photos))) == [0, 1, 2, 3, 4, 5]

    asyncio.run(main())
    batching = httpx.get(f"{service.url}/models/ssd").json()["batching"]
    assert {name: each["shared"] for name, each in batching.items()} == {
        "serving_default": False,
        "encoded": False,
        "proposals": False,
        "any_number": True,
        "yolo": True,
    }
    assert "expected 1 rows" in batching["proposals"]["reason"]


def test_the_other_apis_answer_the_models_own_tensors(service: Service) -> None:
    pixels = np.asarray(PHOTO)[None]
    reply = httpx.post(f"{service.url}/v1/models/ssd:predict", json={"inputs": pixels.tolist()}, timeout=60)
    outputs = reply.json()["outputs"]
    assert outputs["num_detections"] == [2.0] and np.shape(outputs["detection_boxes"]) == (1, detector.MOST, 4)
    tensor = oip.InferInput("input_tensor", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    with oip.InferenceServerClient(f"127.0.0.1:{service.grpc_port}") as client:
        answer = client.infer("ssd", [tensor])
    for alias, values in outputs.items():
        np.testing.assert_allclose(answer.as_numpy(alias), values, rtol=1e-6)
