"""CLIP from export to answers: a small one is exported, served, and asked over HTTP."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import keras
import numpy as np
import pytest

from export.clip import pipeline, weights
from export.clip.options import ClipSpec
from export.clip.pipeline import PublishedClip
from export.clip.signatures import split
from export.data import pixels
from export.errors import ExportError
from export.progress import Progress
from export.publish.network import NETWORK
from service.preprocessing.tokenizer import Tokenizer
from service.repository.manifest import LABELS, SAMPLES, SIGMOID, Manifest
from service.repository.vocabulary import read_merges
from service.types import Array
from tests.support import clip
from tests.support.clip import TINY
from tests.support.exporter import run_export
from tests.support.service_process import Service, running

LABEL_SET = ["a cat", "a dog", "a diagram, of a cat"]
TEMPLATE = "a photo of {}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedClip:
    folder = tmp_path_factory.mktemp("clip")
    clip.save(folder / "clip.npz", {**clip.make_tensors(TINY), "logit_scale": np.float32(2.0)})
    spec = ClipSpec(TINY, "clip", str(folder / "clip.npz"), folder / "repository")
    return pipeline.export(spec, Progress())


@pytest.fixture(scope="module")
def repository(published: PublishedClip) -> Path:
    return published.folder.parents[1]


@pytest.fixture(scope="module")
def service(repository: Path) -> Iterator[Service]:
    with running("--repository", repository) as service:
        service.wait_ready()
        yield service


@pytest.fixture(scope="module")
def photo(published: PublishedClip) -> bytes:
    return (published.folder / SAMPLES / "chelsea-0.png").read_bytes()


@pytest.fixture(scope="module")
def expected(published: PublishedClip, photo: bytes) -> Array:
    """Of the photograph among the labels in the template, by the network in Keras."""
    model = TINY.build()
    weights.load(model, TINY, published.folder / NETWORK)
    images, texts = split(model)
    tokenizer = Tokenizer(read_merges(published.folder, read(published)))
    tokens = np.array([tokenizer.encode(TEMPLATE.replace("{}", label), TINY.context) for label in LABEL_SET], np.int32)
    image = images(pixels.to_tensor(pixels.decode(photo, TINY.size)[np.newaxis], TINY)).numpy()[0]
    rows = texts(tokens).numpy()
    cosines = rows @ image / np.linalg.norm(rows, axis=1) / np.linalg.norm(image)
    shares = np.exp(np.exp(2.0) * cosines)
    return np.asarray(shares / shares.sum())


def read(published: PublishedClip) -> Manifest:
    manifest = Manifest.read(published.folder, "clip", 1)
    assert manifest is not None
    return manifest


def ask(service: Service, body: Any, **query: Any) -> httpx.Response:
    given = {"json": body} if isinstance(body, dict) else {"content": body}
    return httpx.post(f"{service.url}/predict/clip", params=query, timeout=60, **given)


def probabilities(response: httpx.Response) -> list[dict[str, float]]:
    assert response.status_code == 200, response.text
    predictions = response.json()["predictions"]
    return [{top["label"]: top["probability"] for top in each["top_k"]} for each in predictions]


def test_a_version_says_how_it_compares_and_what_nobody_measured(published: PublishedClip) -> None:
    manifest = read(published)
    assert sorted(manifest.signatures) == ["image", "serving_default", "tensor", "text"]
    assert manifest.zero_shot is not None
    assert manifest.zero_shot.scale == pytest.approx(np.exp(2.0))
    assert manifest.labels == () and (published.folder / LABELS).read_text() == ""
    assert manifest.facts["accuracy"] is None and "labels" in manifest.facts["why_no_accuracy"]
    assert max(published.parity.values()) < 1e-4 and len(published.parity) == 7
    assert manifest.profile is not None and set(manifest.profile.milliseconds) == {"image", "tensor", "text"}


def test_labels_in_the_url_and_in_the_body_get_the_networks_probabilities(
    service: Service, photo: bytes, expected: Array
) -> None:
    encoded = {"b64": base64.b64encode(photo).decode()}
    body = {"instances": [encoded, encoded], "labels": LABEL_SET, "template": TEMPLATE}
    for answer in probabilities(ask(service, body)):
        assert answer == pytest.approx(dict(zip(LABEL_SET, expected, strict=True)), abs=1e-4)
    two = probabilities(ask(service, photo, labels="a cat, a dog", template=TEMPLATE))[0]
    assert two == pytest.approx(dict(zip(LABEL_SET[:2], expected[:2] / expected[:2].sum(), strict=True)), abs=1e-4)
    assert len(probabilities(ask(service, body, top_k=1))[0]) == 1


def test_the_texts_of_a_label_set_are_run_once(service: Service, photo: bytes) -> None:
    runs = 'model_server_batch_rows_count{model="clip",version="1"}'
    before = service.metric(runs)
    first = ask(service, photo, labels="one,two,three")
    again = ask(service, photo, labels="one,two,three")
    assert first.json() == again.json()
    assert service.metric(runs) - before == 3


def test_pixels_are_compared_too_and_the_encoders_are_reached_by_their_signatures(service: Service) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (2, TINY.size, TINY.size, 3)).tolist()
    assert len(probabilities(ask(service, {"instances": rows, "labels": ["a", "b"]}))) == 2
    tokens = [[49406, 320, 2368, 49407, *[0] * 73]]
    body = {"signature_name": "text", "instances": tokens}
    (embedding,) = httpx.post(f"{service.url}/v1/models/clip:predict", json=body).json()["predictions"]
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5) and len(embedding) == TINY.embedding
    assert ask(service, body).json()["outputs"]["text_embedding"] == [pytest.approx(embedding, abs=1e-6)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "send labels"),
        ({"labels": ""}, "labels is empty"),
        ({"labels": "a cat,,a dog"}, "label 1 is blank"),
        ({"labels": "a cat,a cat"}, "given twice"),
        ({"labels": "a cat," + "cat " * 76}, "label 1: .* is too long: expected at most 77 tokens"),
        ({"labels": "a cat", "template": "a photo"}, "invalid template"),
        ({"template": "a photo of {}"}, "template has no labels"),
        ({"labels": "a cat", "calibrated": "true"}, "no temperature"),
    ],
)
def test_labels_that_cannot_be_answered_are_a_400(
    query: dict[str, str], message: str, service: Service, photo: bytes
) -> None:
    response = ask(service, photo, **query)
    assert response.status_code == 400
    assert re.search(message, response.text), response.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": []}, "labels is empty"),
        ({"labels": "a cat"}, "labels is a list of strings"),
        ({"labels": ["a cat", 3]}, "labels is a list of strings"),
        ({"labels": ["a cat"], "template": 3}, "template is a string"),
        ({"template": "a {}"}, "template has no labels"),
        ({"labels": ["a cat"], "signature_name": "text"}, "takes no images"),
    ],
)
def test_labels_in_a_body_that_cannot_be_answered_are_a_400(
    fields: dict[str, Any], message: str, service: Service
) -> None:
    tokens = [[49406, 49407, *[0] * 75]]
    image = [np.zeros((TINY.size, TINY.size, 3), int).tolist()]
    instances = tokens if "signature_name" in fields else image
    response = ask(service, {"instances": instances, **fields})
    assert response.status_code == 400 and message in response.text, response.text


def test_labels_come_from_one_place(service: Service) -> None:
    body = {"instances": [np.zeros((TINY.size, TINY.size, 3), int).tolist()], "labels": ["a"]}
    response = ask(service, body, labels="b")
    assert response.status_code == 400 and "not in both" in response.text


def test_behind_an_upstream_labels_are_answered_where_the_folder_lies_beside_the_gateway(
    service: Service, repository: Path, photo: bytes, expected: Array, tmp_path: Path
) -> None:
    arguments = ["--backend", "tfserving", "--target", f"127.0.0.1:{service.grpc_port}"]
    with running(*arguments, "--repository", repository) as gateway:
        gateway.wait_ready()
        answer = ask(gateway, photo, labels="a cat,a dog", template=TEMPLATE)
        assert probabilities(answer)[0]["a cat"] == pytest.approx(expected[0] / expected[:2].sum(), abs=1e-4)
    with running(*arguments, "--repository", tmp_path / "absent") as gateway:
        gateway.wait_ready()
        refused = ask(gateway, photo, labels="a cat,a dog")
        assert refused.status_code == 400 and "leave labels out" in refused.text


def test_a_version_without_its_vocabulary_is_not_served(published: PublishedClip, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    with pytest.raises(ValueError, match=r"assets/merges\.txt cannot be read"):
        read_merges(tmp_path, read(published))


def test_a_head_of_siglips_is_exported_as_such(tmp_path: Path) -> None:
    spec = ClipSpec(TINY, "siglip", "none", tmp_path, head=SIGMOID, force=True)
    model = TINY.build(SIGMOID)
    head = pipeline.read_head(model, spec)
    assert (head.activation, head.bias) == (SIGMOID, -10.0) and head.scale == pytest.approx(10)


def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("a b\nc d\n")
    spec = ClipSpec(TINY, "clip", "none", tmp_path / "models", vocabulary=tmp_path / "merges.txt", force=True)
    with pytest.raises(ExportError, match="expected 48,894 merges, got 2"):
        pipeline.export(spec, Progress())
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_the_published_size_is_exported_and_served(tmp_path: Path) -> None:
    keras.backend.clear_session()
    done = run_export("--model", "clip_vit_b32", "--weights", "none", "--force", "--repository", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "151,277,313" in done.stdout and "random" in done.stdout
    folder = tmp_path / "clip_vit_b32" / "1"
    with running("--repository", tmp_path) as service:
        service.wait_ready()
        photo = next((folder / SAMPLES).iterdir()).read_bytes()
        answer = httpx.post(f"{service.url}/predict/clip_vit_b32", params={"labels": "a cat,a dog"}, content=photo)
        assert answer.status_code == 200, answer.text
        assert sum(top["probability"] for top in answer.json()["predictions"][0]["top_k"]) == pytest.approx(1)
    assert json.loads((folder / "assets.extra" / "manifest.json").read_text())["facts"]["parameters"] == 151_277_313
