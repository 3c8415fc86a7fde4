"""Features of images at the edge: /embed, beside predictions, what they resemble, and who has none."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.repository import checksums
from service.repository.image_index import IMAGE_INDEX
from service.repository.manifest import Manifest
from tests.support.images import encode, photo
from tests.support.service_process import running
from tests.support.testdata import needs_testdata

PIXELS = photo()[:28, :28]
FLOATS = "application/octet-stream"


def embed(client: httpx.Client, image: bytes, model: str = "lenet5", **query: Any) -> httpx.Response:
    return client.post(f"/embed/{model}", params=query, content=image, headers={"content-type": "image/png"})


def rows(reply: httpx.Response) -> Any:
    assert reply.status_code == 200, reply.text
    return np.array(reply.json()["embeddings"], np.float32)


def error(reply: httpx.Response) -> str:
    return str(reply.json()["error"]["message"])


def test_every_body_and_both_kinds_of_answer_have_the_same_numbers(
    client: httpx.Client, samples: dict[str, bytes]
) -> None:
    reply = embed(client, samples["3"])
    wanted, document = rows(reply), reply.json()
    assert wanted.shape == (1, 84) and np.abs(wanted).max() > 0.1
    assert (document["model"], document["version"], document["dimensions"]) == ("lenet5", 1, 84)
    assert document["normalized"] is False

    raw = client.post("/embed/lenet5", content=samples["3"], headers={"accept": FLOATS})
    assert (raw.headers["content-type"], raw.headers["x-embeddings-shape"]) == (FLOATS, "1,84")
    np.testing.assert_array_equal(np.frombuffer(raw.content, "<f4").reshape(1, 84), wanted)

    instances = [{"b64": base64.b64encode(samples[label]).decode()} for label in "37"]
    both = rows(client.post("/embed/lenet5", json={"instances": instances}))
    np.testing.assert_allclose(both[0], wanted[0], atol=1e-5)
    files = [("image", (f"{label}.png", samples[label], "image/png")) for label in "37"]
    np.testing.assert_allclose(rows(client.post("/embed/lenet5", files=files)), both, atol=1e-5)


@pytest.mark.parametrize("signature", ["", "image", "image_features"])
def test_pixels_are_embedded_too(client: httpx.Client, signature: str) -> None:
    wanted = rows(embed(client, encode(PIXELS)))
    body = {"instances": [PIXELS.tolist()], "signature_name": signature}
    np.testing.assert_allclose(rows(client.post("/embed/lenet5", json=body)), wanted, atol=1e-5)


def test_rows_are_scaled_to_length_one_on_request(client: httpx.Client, samples: dict[str, bytes]) -> None:
    plain, reply = rows(embed(client, samples["5"])), embed(client, samples["5"], normalize="true")
    assert reply.json()["normalized"] is True
    np.testing.assert_allclose(rows(reply), plain / np.linalg.norm(plain), atol=1e-6)


def test_predictions_bring_them_from_the_same_run(client: httpx.Client, samples: dict[str, bytes]) -> None:
    def count_runs() -> float:
        lines = re.findall(
            r'^(\S*batch\S*_count\{[^}]*model="lenet5"[^}]*\}) (\S+)$', client.get("/metrics").text, re.M
        )
        assert lines
        return float(lines[0][1])

    plain = client.post("/predict/lenet5", content=samples["3"]).json()
    before = count_runs()
    reply = client.post("/predict/lenet5?features=true", content=samples["3"])
    assert count_runs() == before + 1
    (prediction,) = reply.json()["predictions"]
    features = np.array(prediction.pop("features"), np.float32)
    assert prediction == plain["predictions"][0]
    np.testing.assert_array_equal(features, rows(embed(client, samples["3"]))[0])
    assert "features" not in json.dumps(plain) and "known" not in json.dumps(plain)


def test_similar_shows_training_images_and_their_labels(client: httpx.Client, samples: dict[str, bytes]) -> None:
    reply = client.post("/similar/lenet5?top_k=7", content=samples["3"])
    assert reply.status_code == 200, reply.text
    (found,) = reply.json()["similar"]
    similarities = [each["similarity"] for each in found["neighbours"]]
    assert len(similarities) == 7 and similarities == sorted(similarities, reverse=True)
    assert 0.5 < similarities[0] <= 1.00001
    labels = [each["label"] for each in found["neighbours"]]
    assert labels.count("3") >= 5, "the network is right about most digits"
    assert all(each["name"].startswith("digit number ") for each in found["neighbours"])
    assert found["known"] is True


def test_digits_are_known_and_photographs_are_not(client: httpx.Client, samples: dict[str, bytes]) -> None:
    files = [("image", (f"{label}.png", image, "image/png")) for label, image in samples.items()]
    reply = client.post("/predict/lenet5?known=true&calibrated=false", files=files)
    assert reply.status_code == 200, reply.text
    known = [each["known"] for each in reply.json()["predictions"]]
    assert sum(known) >= 7, "19 of 20 digits are, on average"
    crops = [
        encode(photo()[row : row + 56, column : column + 56])
        for row in range(0, 360, 60)
        for column in range(0, 580, 60)
    ]
    files = [("image", ("crop.png", crop, "image/png")) for crop in crops]
    odd = client.post("/predict/lenet5?known=true", files=files).json()["predictions"]
    assert len(odd) == 60 and sum(each["known"] for each in odd) <= 48, "one in ten, or half, by how training went"


@pytest.fixture(scope="module")
def mixed(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """`lenet5/1` as exports were before there were features, `lenet5/2` without an index; `both` averages two."""
    repository = tmp_path_factory.mktemp("mixed")
    for version in (1, 2, 3):
        folder = repository / "lenet5" / str(version)
        shutil.copytree(lenet5_repository / "lenet5" / "1", folder)
        manifest = Manifest.read(folder, "lenet5", version)
        assert manifest is not None
        if version == 1:
            older = {name: each for name, each in manifest.signatures.items() if "features" not in name}
            manifest = replace(manifest, signatures=older, known_threshold=None)
        if version < 3:
            (folder / IMAGE_INDEX).unlink()
        manifest.write(folder)
        checksums.write(folder)
    routes = repository.parent / "mixed_routes.yaml"
    routes.write_text("routes: {both: {ensemble: {members: [{target: lenet5/2}, {target: lenet5/3}]}}}")
    with running("--repository", repository, "--routes", routes, "--keep-versions", "3") as service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, timeout=30) as client:
            yield client


@pytest.mark.parametrize("target", ["/embed/lenet5?version=1", "/similar/lenet5?version=1"])
@pytest.mark.parametrize("body", [b"", b"junk"])
def test_a_version_exported_before_says_to_export_again(mixed: httpx.Client, target: str, body: bytes) -> None:
    """Before its body is read."""
    reply = mixed.post(target, content=body)
    assert reply.status_code == 404, reply.text
    assert "has no features" in error(reply) and "export the model again" in error(reply)


def test_a_version_exported_before_serves_as_ever(mixed: httpx.Client, samples: dict[str, bytes]) -> None:
    old, new = (mixed.post(f"/predict/lenet5?version={number}", content=samples["3"]).json() for number in (1, 3))
    assert old["predictions"] == new["predictions"]
    reply = mixed.post("/predict/lenet5?version=1&features=true", content=samples["3"])
    assert reply.status_code == 404 and "export the model again" in error(reply)


def test_what_has_no_index_or_threshold_says_so(mixed: httpx.Client, samples: dict[str, bytes]) -> None:
    reply = mixed.post("/similar/lenet5?version=2", content=samples["3"])
    assert reply.status_code == 400 and "has no index of training images" in error(reply)
    reply = mixed.post("/predict/lenet5?version=1&known=true", content=samples["3"])
    assert reply.status_code == 400 and "leave known=true out" in error(reply)


@pytest.mark.parametrize(
    "target", ["/embed/both", "/similar/both", "/predict/both?features=true", "/predict/both?known=true"]
)
def test_an_ensemble_has_no_features(mixed: httpx.Client, samples: dict[str, bytes], target: str) -> None:
    assert mixed.post("/predict/both", content=samples["3"]).status_code == 200
    reply = mixed.post(target, content=samples["3"])
    assert reply.status_code == 400, reply.text
    assert "ensemble" in error(reply) or "several models" in error(reply)


@needs_testdata
@pytest.mark.parametrize(
    "target", ["/embed/half_plus_two", "/similar/half_plus_two", "/predict/half_plus_two?features=true"]
)
def test_anybodys_model_without_the_signature_is_one_clear_error(client: httpx.Client, target: str) -> None:
    reply = client.post(target, json={"instances": [1.0]})
    assert reply.status_code == 404, reply.text
    assert "no signature 'features'" in error(reply) and "\n" not in error(reply)


@pytest.mark.parametrize("query", ["normalize=yes", "features=1", "known=", "version=x"])
def test_other_values_are_refused(client: httpx.Client, query: str) -> None:
    for path in ("/predict/lenet5", "/embed/lenet5", "/similar/lenet5"):
        assert client.post(f"{path}?{query}", content=b"x").status_code == 400


def test_bad_images_and_unknown_models_are_told_as_ever(client: httpx.Client) -> None:
    for path in ("/embed", "/similar"):
        assert client.post(f"{path}/nobody", content=b"x").status_code == 404
        reply = client.post(f"{path}/lenet5", content=b"no image", headers={"content-type": "image/png"})
        assert reply.status_code == 400 and "no JPEG" in error(reply)
