"""Versions that come, change, break and go under a running service."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from service.repository import checksums as contents
from tests.support.service_process import Service, running
from tests.support.testdata import TESTDATA, needs_testdata


@pytest.fixture
def repository(lenet5_repository: Path, tmp_path: Path) -> Path:
    shutil.copytree(lenet5_repository / "lenet5", tmp_path / "lenet5")
    return tmp_path


@pytest.fixture(scope="module")
def models(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of `service`: `lenet5/1`, and what each test puts there."""
    return Path(shutil.copytree(lenet5_repository, tmp_path_factory.mktemp("shared") / "models"))


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[Service]:
    with running("--repository", models, "--poll-interval-seconds", 0.1) as service:
        service.wait_ready()
        yield service


@pytest.fixture
def model(service: Service, models: Path) -> Path:
    """The folder of a model of the test's own that `service` serves, with version 1."""
    staged, folder = models / ".staging", models / f"model-{len(list(models.iterdir()))}"
    shutil.copytree(models / "lenet5", staged)
    staged.rename(folder)
    service.wait_until(lambda: versions(service, folder) == [1], 20)
    return folder


def publish(model: Path, version: int) -> None:
    """A whole version in one rename, as the exporter does it."""
    staged, newest = model / f".staging-{version}", model / str(version - 1)
    shutil.copytree(newest, staged)
    staged.rename(model / str(version))


def versions(service: Service, model: Path) -> list[int]:
    return list(httpx.get(f"{service.url}/models").json()["models"].get(model.name, []))


def serves(service: Service, model: Path, version: int) -> bool:
    return version in versions(service, model)


def states(service: Service, model: Path) -> dict[int, tuple[str, str]]:
    found = httpx.get(f"{service.url}/models/{model.name}").json()["versions"]
    return {entry["version"]: (entry["state"], entry["error"]) for entry in found}


def test_a_new_version_takes_over_under_load_without_one_failure(service: Service, model: Path, digit: bytes) -> None:
    answers: list[tuple[int, int]] = []
    stop = threading.Event()

    def client() -> None:
        with httpx.Client(base_url=service.url, timeout=30) as http:
            while not stop.is_set():
                reply = http.post(f"/predict/{model.name}", content=digit)
                answers.append((reply.status_code, reply.json().get("version", 0)))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (2, 3):
        publish(model, version)
        service.wait_until(partial(serves, service, model, version), 20)
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {1, 2, 3}
    service.wait_until(lambda: states(service, model)[1][0] == "END", 20)
    assert versions(service, model) == [3, 2]
    assert httpx.post(f"{service.url}/predict/{model.name}?version=2", content=digit).json()["version"] == 2
    assert httpx.post(f"{service.url}/predict/{model.name}?version=1", content=digit).status_code == 404


@pytest.mark.parametrize("damage", ["truncated model", "no manifest labels", "other weights", "text"])
def test_a_broken_version_never_replaces_a_working_one(
    service: Service, model: Path, digit: bytes, damage: str
) -> None:
    staged = model / ".broken"
    shutil.copytree(model / "1", staged)
    lite = staged / "model.tflite"
    if damage == "truncated model":
        lite.write_bytes(lite.read_bytes()[:50_000])
    elif damage == "no manifest labels":
        (staged / "assets" / "labels.txt").unlink()
    elif damage == "other weights":
        data = bytearray(lite.read_bytes())
        data[100_000:200_000] = os.urandom(100_000)
        lite.write_bytes(bytes(data))
        contents.write(staged)
    else:
        lite.write_text("not a model")
    staged.rename(model / "2")
    service.wait_until(lambda: states(service, model).get(2, ("", ""))[0] == "END", 20)
    assert states(service, model)[2][1], "the status says why"
    assert f"{model.name}/2 was not loaded" in service.log()
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    assert httpx.post(f"{service.url}/predict/{model.name}", content=digit).json()["version"] == 1
    refused = httpx.post(f"{service.url}/predict/{model.name}?version=2", content=digit)
    assert refused.status_code == 404 and "version 2 failed" in refused.json()["error"]["message"]


def test_a_folder_copied_slowly_is_taken_when_it_is_whole(service: Service, model: Path, digit: bytes) -> None:
    source, target = model / "1", model / "2"
    target.mkdir()
    data = (source / "model.tflite").read_bytes()
    with (target / "model.tflite").open("wb") as file:
        for start in range(0, len(data), 40_000):
            file.write(data[start : start + 40_000])
            file.flush()
            time.sleep(0.05)
            assert versions(service, model) == [1]
    for name in ("assets", "assets.extra", "saved_model.pb"):
        shutil.copytree(source / name, target / name) if (source / name).is_dir() else shutil.copy(
            source / name, target
        )
    service.wait_until(lambda: versions(service, model) == [2, 1], 20)
    assert httpx.post(f"{service.url}/predict/{model.name}", content=digit).json()["version"] == 2


@pytest.mark.parametrize("restarted", [False, True])
def test_a_model_without_the_rest_of_its_folder_takes_no_traffic(
    repository: Path, digit: bytes, restarted: bool
) -> None:
    """A copy that rests after its first file is a model of its own, without labels and without our signatures."""
    (repository / "lenet5" / "2").mkdir()
    arguments = ("--repository", repository, "--poll-interval-seconds", 0.1)
    first = repository / "lenet5" / "2" / "model.tflite"
    if restarted:
        shutil.copy(repository / "lenet5" / "1" / "model.tflite", first)
    with running(*arguments) as service:
        service.wait_ready()
        if not restarted:
            shutil.copy(repository / "lenet5" / "1" / "model.tflite", first)
        service.wait_until(lambda: states(service, repository / "lenet5").get(2, ("", ""))[0] == "END", 20)
        assert "manifest.json" in states(service, repository / "lenet5")[2][1] and "manifest.json" in service.log()
        reply = httpx.post(f"{service.url}/predict/lenet5", content=digit).json()
        assert (reply["version"], reply["predictions"][0]["label"]) == (1, "7")
        shutil.copytree(repository / "lenet5" / "1", repository / "lenet5" / "2", dirs_exist_ok=True)
        service.wait_until(lambda: versions(service, repository / "lenet5") == [2, 1], 20)


@pytest.mark.parametrize("workers", [1, 2])
def test_series_end_with_their_version(repository: Path, digit: bytes, workers: int) -> None:
    with running("--repository", repository, "--poll-interval-seconds", 0.1, "--workers", workers) as service:
        url = service.url
        service.wait_ready()

        def counted() -> set[str]:
            return set(re.findall(r'version="(\d+)"', httpx.get(f"{url}/metrics").text))

        for version in range(2, 6):
            httpx.post(f"{service.url}/predict/lenet5", content=digit)
            publish(repository / "lenet5", version)
            shutil.rmtree(repository / "lenet5" / str(version - 2), ignore_errors=True)
            service.wait_until(lambda version=version: serves(service, repository / "lenet5", version), 20)  # type: ignore[misc]
        service.wait_until(lambda: counted() == {"4", "5"}, 20)
        assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_layouts_that_are_not_served_are_named_where_people_look(repository: Path) -> None:
    (repository / "lenet5" / "1").rename(repository / "lenet5" / "v1")
    with running("--repository", repository, "--poll-interval-seconds", 0.1) as service:
        service.wait_until(lambda: "gRPC on port" in service.log())
        why = "lenet5/v1 is no version: rename it to a whole number, such as 1"
        assert service.log().count(f"not served: {why}") == 1
        assert why in httpx.get(f"{service.url}/readyz").json()["reason"]
        assert httpx.get(f"{service.url}/models").json()["passed_over"] == dict([why.split(" ", 1)])
        (repository / "lenet5" / "v1").rename(repository / "lenet5" / "1")
        service.wait_ready()
        assert "passed_over" not in httpx.get(f"{service.url}/models").json()


def test_a_half_copied_folder_is_taken_once_repaired(service: Service, model: Path) -> None:
    source, target = model / "1", model / "2"
    shutil.copytree(source, target)
    whole = (target / "model.tflite").read_bytes()
    (target / "model.tflite").write_bytes(whole[:1000])
    service.wait_until(lambda: states(service, model).get(2, ("", ""))[0] == "END", 20)
    (target / "model.tflite").write_bytes(whole)
    service.wait_until(lambda: versions(service, model) == [2, 1], 20)


def test_pipes_in_the_place_of_files_hold_nobody_up(repository: Path) -> None:
    for path in ("pipe/1/model.tflite", "labels/1/assets/labels.txt"):
        if path.startswith("labels"):
            shutil.copytree(repository / "lenet5" / "1", repository / "labels" / "1")
            (repository / path).unlink()
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(repository / path)
    with running("--repository", repository, "--poll-interval-seconds", 0.1) as service:
        service.wait_ready(20)
        assert "is no file" in httpx.get(f"{service.url}/models").json()["passed_over"]["pipe/1"]
        told = httpx.get(f"{service.url}/models/labels").json()["error"]["message"]
        assert "labels.txt is neither a file nor a folder" in told
        for name in ("pipe", "labels"):
            shutil.rmtree(repository / name)
            shutil.copytree(repository / "lenet5" / "1", repository / name / "1")
        service.wait_until(lambda: set(httpx.get(f"{service.url}/models").json()["models"]) > {"pipe", "labels"}, 20)


def test_a_removed_model_unloads_and_a_lost_repository_does_not(repository: Path, digit: bytes) -> None:
    with running("--repository", repository, "--poll-interval-seconds", 0.1) as service:
        service.wait_ready()
        hidden = repository.with_name("hidden")
        repository.rename(hidden)
        service.wait_until(lambda: "cannot be read" in service.log(), 20)
        assert httpx.post(f"{service.url}/predict/lenet5", content=digit).status_code == 200
        hidden.rename(repository)
        shutil.rmtree(repository / "lenet5")
        service.wait_until(lambda: httpx.post(f"{service.url}/predict/lenet5", content=digit).status_code == 404, 20)
        assert httpx.get(f"{service.url}/readyz").status_code == 503


@needs_testdata
def test_anybodys_saved_model_is_served_through_its_own_signatures(tmp_path: Path) -> None:
    assert TESTDATA is not None
    shutil.copytree(TESTDATA, tmp_path / "models")
    expected = {
        "saved_model_half_plus_two_cpu": [[2.5], [3.0], [4.5]],
        "saved_model_half_plus_two_tf2_cpu": [[2.5], [3.0], [4.5]],
        "saved_model_half_plus_two_2_versions": [[2.5], [3.0], [4.5]],
        "saved_model_half_plus_three": [[3.5], [4.0], [5.5]],
    }
    with running("--repository", tmp_path / "models") as service:
        service.wait_ready()
        for name, answer in expected.items():
            body = {"instances": [[1.0], [2.0], [5.0]]}
            reply = httpx.post(f"{service.url}/predict/{name}", json=body, timeout=30)
            assert reply.json().get("outputs") == {"y": answer}, reply.text
        tflite = {"instances": [1.0, 2.0, 5.0]}
        for name in ("saved_model_half_plus_two_tflite", "saved_model_half_plus_two_tflite_with_sigdef"):
            reply = httpx.post(f"{service.url}/predict/{name}", json=tflite, timeout=30)
            assert list(reply.json().get("outputs", {}).values()) == [[2.5, 3.0, 4.5]], reply.text
        named = {"signature_name": "regress_x2_to_y3", "instances": [[1.0]]}
        reply = httpx.post(f"{service.url}/predict/saved_model_half_plus_two_cpu", json=named, timeout=30)
        assert reply.json()["outputs"] == {"outputs": [[3.5]]}
        matrix = {"instances": [[[1.0] * 3] * 3]}
        reply = httpx.post(f"{service.url}/predict/matrix_half_plus_two", json=matrix, timeout=30)
        assert reply.status_code == 200, reply.text
        assert service.stop() == 0


def test_two_lite_models_need_no_tensorflow(lenet5_repository: Path) -> None:
    """Asked of the interpreter itself, after both protocols' code is loaded and an image was answered."""
    code = f"""
import asyncio, sys
from pathlib import Path
from service.server import lifecycle
from service.server.app import build
from service.observability.context import RequestContext, Trace
from service.types import ModelRef, PredictRequest, strings
from service.settings import Settings

async def main():
    core = build(Settings(repository=Path({str(lenet5_repository)!r})))
    await core.catalog.sync()
    image = next(Path({str(lenet5_repository)!r}).glob("lenet5/1/assets.extra/samples/7-*")).read_bytes()
    async with core.predictor.admit(RequestContext(Trace("http")), ModelRef("lenet5")) as admitted:
        result = await admitted.predict(PredictRequest({{"": strings([image])}}))
    print(result.labels[result.outputs["probabilities"][0].argmax()], "tensorflow" in sys.modules)
    await core.catalog.close()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["7", "False"], done.stderr
