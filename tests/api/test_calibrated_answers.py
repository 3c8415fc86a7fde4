"""`?calibrated=true`: the temperature in a version's manifest, applied to the answers that ask for it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.repository import checksums
from service.repository.calibration import scale
from service.repository.manifest import Manifest
from tests.support.service_process import running

TEMPERATURE = 2.5


@pytest.fixture(scope="module")
def calibrated(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """`lenet5/2` has a temperature, `lenet5/1` none; `both` averages them."""
    repository = tmp_path_factory.mktemp("calibrated")
    for version, temperature in ((1, None), (2, TEMPERATURE)):
        folder = repository / "lenet5" / str(version)
        shutil.copytree(lenet5_repository / "lenet5" / "1", folder)
        manifest = Manifest.read(folder, "lenet5", version)
        assert manifest is not None
        replace(manifest, temperature=temperature).write(folder)
        checksums.write(folder)
    routes = repository.parent / "calibrated_routes.yaml"
    routes.write_text("routes: {both: {ensemble: {members: [{target: lenet5/2}, {target: lenet5/1}]}}}")
    with running("--repository", repository, "--routes", routes, "--keep-versions", "2") as service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, timeout=30) as client:
            yield client


def ask(client: httpx.Client, target: str, samples: dict[str, bytes], **query: Any) -> httpx.Response:
    return client.post(f"/predict/{target}", params={"top_k": 10, **query}, content=samples["3"])


def test_the_temperature_is_applied_to_who_asks(calibrated: httpx.Client, samples: dict[str, bytes]) -> None:
    plain = ask(calibrated, "lenet5", samples).json()
    assert "temperature" not in plain and ask(calibrated, "lenet5", samples, calibrated="false").json() == plain
    document = ask(calibrated, "lenet5", samples, calibrated="true").json()
    assert (document["version"], document["temperature"]) == (2, TEMPERATURE)
    before, after = (each["predictions"][0]["top_k"] for each in (plain, document))
    assert [each["label"] for each in after] == [each["label"] for each in before]
    wanted = scale(np.array([[each["probability"] for each in before]]), TEMPERATURE)[0]
    assert [each["probability"] for each in after] == pytest.approx(wanted.tolist(), rel=1e-5)
    assert document["predictions"][0]["probability"] < plain["predictions"][0]["probability"], "less sure"


@pytest.mark.parametrize("target", ["lenet5?version=1", "both"])
def test_where_there_is_none_that_is_said(calibrated: httpx.Client, samples: dict[str, bytes], target: str) -> None:
    name, _, query = target.partition("?version=")
    chosen = {"version": query} if query else {}
    assert ask(calibrated, name, samples, **chosen).status_code == 200
    reply = ask(calibrated, name, samples, **chosen, calibrated="true")
    assert reply.status_code == 400, reply.text
    message = reply.json()["error"]["message"]
    assert "has no temperature" in message and "leave calibrated=true out" in message and "\n" not in message


def test_other_values_are_refused(calibrated: httpx.Client, samples: dict[str, bytes]) -> None:
    reply = ask(calibrated, "lenet5", samples, calibrated="yes")
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "invalid calibrated: expected true or false, got 'yes'"
