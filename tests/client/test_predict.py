"""One image: whatever a person calls one is answered, and answered alike."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from image_model_client import AsyncClient, Client, GrpcClient, InvalidRequest, Label, NotFound, UnreadableImage, images
from tests.support.scripted_http import LABEL, Answer, scripted
from tests.support.service_process import Service

SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "name": str,
    "name in bytes of the system": lambda path: NameInBytes(bytes(path)),
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "file in memory": lambda path: io.BytesIO(path.read_bytes()),
    "PIL image": Image.open,
    "PIL palette image": lambda path: Image.open(path).convert("L").convert("P"),
    "PIL image of 16 bits": lambda path: Image.fromarray(np.asarray(Image.open(path).convert("L")).astype("<u2") * 257),
    "array [h, w]": lambda path: np.asarray(Image.open(path).convert("L")),
    "array [h, w, 1]": lambda path: np.asarray(Image.open(path).convert("L"))[..., None],
    "array [h, w, 3]": lambda path: np.asarray(Image.open(path).convert("RGB")),
    "array [h, w, 4]": lambda path: np.asarray(Image.open(path).convert("RGBA")),
    "array that is not contiguous": lambda path: np.asarray(Image.open(path).convert("RGB"))[:, ::-1][:, ::-1],
}


class NameInBytes:
    def __init__(self, name: bytes) -> None:
        self._name = name

    def __fspath__(self) -> bytes:
        return self._name


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_image_is_answered_alike(client: Client, seven: Path, kind: str) -> None:
    answer = client.predict("lenet5", SOURCES[kind](seven))
    assert answer.label == "7" and answer.top_k == client.predict("lenet5", seven).top_k


def test_an_answer_is_typed(client: Client, seven: Path) -> None:
    answer = client.predict("lenet5", seven, top_k=3, version=1)
    assert (answer.model, answer.version, answer.label) == ("lenet5", 1, "7")
    assert len(answer.top_k) == 3 and answer.top_k[0] == Label(answer.label, answer.probability)
    assert [one.probability for one in answer.top_k] == sorted((one.probability for one in answer.top_k), reverse=True)
    assert {"decode", "compute", "total"} <= answer.timings.keys() and answer.timings["total"] > 0
    assert len(answer.request_id) == 32
    assert answer.fields["predictions"][0]["label"] == "7"


def test_models_and_their_descriptions(client: Client) -> None:
    assert {model.name: model.versions for model in client.models()} == {"efficientnet_lite0": (1,), "lenet5": (1,)}
    assert client.describe("lenet5", version=1)["manifest"]["preprocessing"]["width"] == 28


def test_an_address_is_fetched_and_says_what_is_wrong(service: Service, seven: Path) -> None:
    with scripted(Answer(body=seven.read_bytes()), Answer(404)) as files, Client(service.url) as client:
        assert client.predict("lenet5", f"{files.url}/7.png").label == "7"
        with pytest.raises(UnreadableImage, match=r"7\.png was answered with 404 Not Found"):
            client.predict("lenet5", f"{files.url}/7.png")
    for gone in (f"{files.url}/7.png", "http://["):
        with pytest.raises(UnreadableImage, match="cannot be fetched"):
            client.predict("lenet5", gone)


def test_the_key_is_sent_to_the_service_and_to_nobody_else(seven: Path) -> None:
    with scripted(Answer(body=seven.read_bytes())) as files, scripted(Answer(404)) as service:
        with Client(service.url, key="secret") as client, pytest.raises(NotFound):
            client.predict("m", f"{files.url}/7.png")
        assert service.asked[0][1]["Authorization"] == "Bearer secret"
        assert "Authorization" not in files.asked[0][1]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("no/such.jpg", r"no/such.jpg cannot be read: No such file"),
        (".", r"cannot be read: Is a directory"),
        ("a\0b", "is no path"),
        (io.StringIO("text"), "expected a file of bytes, got str"),
        (7, "expected a path, an address, bytes, an open file, a PIL image or an array, got int"),
        (np.zeros((4, 4), np.float32), "uint8 from 0 to 255, got float32"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got \(2, 4, 4, 3\)"),
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\)"),
    ],
    ids=("missing", "folder", "null", "text", "number", "floats", "batch", "two channels"),
)
def test_what_cannot_be_sent_says_what_can(client: Client, source: Any, says: str) -> None:
    with pytest.raises(UnreadableImage, match=says):
        client.predict("lenet5", source)


def test_what_is_no_image_is_the_services_to_say(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="no JPEG, PNG, GIF, BMP or WebP") as caught:
        client.predict("lenet5", b"text")
    assert (caught.value.status, caught.value.code, len(caught.value.request_id)) == (400, "INVALID_INPUT", 32)


def test_no_number_is_nan_and_a_model_without_labels_has_outputs() -> None:
    null = b'{"model": "m", "version": 1, "predictions": [{"top_k": [{"label": "cat", "probability": null}]}]}'
    plain = b'{"model": "half_plus_two", "version": 2, "outputs": {"y": [2.5]}}'
    boxes = b'{"model": "ssd", "version": 1, "predictions": [{"width": 4, "height": 3, "detections": []}]}'
    with scripted(Answer(body=null), Answer(body=plain), Answer(body=boxes)) as service, Client(service.url) as client:
        assert math.isnan(client.predict("m", b"x").probability)
        answer = client.predict("half_plus_two", b"x")
        assert answer.outputs == {"y": [2.5]} and answer.top_k == ()
        assert client.predict("ssd", b"x").outputs == {"width": 4, "height": 3, "detections": []}
        with pytest.raises(ValueError, match=r"half_plus_two is no classifier .* \.outputs"):
            _ = answer.label


def test_options_are_the_services_parameters() -> None:
    with scripted(Answer(404)) as service, Client(service.url) as client:
        with pytest.raises(NotFound):
            client.predict("a/b ü", b"x", version_label="int8", top_k=2, calibrated=True)
        path, _ = service.asked[0]
        assert path == "/predict/a%2Fb%20%C3%BC?label=int8&top_k=2&calibrated=true"


@pytest.mark.parametrize("normalize", [False, True])
async def test_features_are_those_of_the_services_json(service: Service, seven: Path, normalize: bool) -> None:
    image = images.read(seven)
    async with httpx.AsyncClient(base_url=service.url, params={"normalize": str(normalize).lower()}) as raw:
        reply = await raw.post("/embed/lenet5", content=image, headers={"Content-Type": "image/png"})
    (expected,) = reply.json()["embeddings"]
    async with AsyncClient(service.url) as twin:
        answers = [await twin.embed("lenet5", seven, normalize=normalize)]
    with Client(service.url) as client, GrpcClient(f"127.0.0.1:{service.grpc_port}") as grpc:
        answers += [each.embed("lenet5", seven, normalize=normalize) for each in (client, grpc)]
    for answer in answers:
        assert (answer.model, answer.version, len(answer.vector)) == ("lenet5", 1, len(expected))
        assert answer.vector == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert len(answer.request_id) == 32
    assert (math.hypot(*expected) == pytest.approx(1, abs=1e-5)) is normalize


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://host", "http://", "http://[::1"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"^Invalid url"):
        Client(url)


@pytest.mark.parametrize("key", ["line's\nend", "schlüssel", "two words"])
def test_what_no_header_holds_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match=r"^Invalid key"):
        AsyncClient(key=key)


async def test_the_async_client_answers_alike(service: Service, client: Client, seven: Path) -> None:
    async with AsyncClient(service.url) as twin:
        for kind in ("path", "bytes", "PIL image"):
            source = SOURCES[kind](seven)
            assert (await twin.predict("lenet5", source)).top_k == client.predict("lenet5", seven).top_k
        assert await twin.models() == client.models()
        assert (await twin.describe("lenet5"))["manifest"] == client.describe("lenet5")["manifest"]
        with pytest.raises(UnreadableImage):
            await twin.predict("lenet5", "no/such.jpg")


def test_an_option_that_a_call_does_not_have_is_refused() -> None:
    with scripted(LABEL) as service, Client(service.url) as client:
        with pytest.raises(TypeError, match=r"unexpected options \['topk'\]; expected some of .*'top_k'"):
            client.predict("m", b"x", topk=3)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="shrink"):
            client.embed("m", b"x", shrink=True)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="calibrated"), GrpcClient("localhost:1") as twin:
            twin.predict("m", b"x", calibrated=True)  # type: ignore[call-arg]
        assert not service.asked
