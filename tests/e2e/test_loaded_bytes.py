"""A loaded version's bytes are the service's own: whatever happens to its files, it answers as it did."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.service_process import Service, running
from tests.support.testdata import TESTDATA, needs_testdata


def truncate(file: Path) -> None:
    os.truncate(file, 0)


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(os.urandom(file.stat().st_size))


DAMAGES = [truncate, overwrite]


def harm(folder: Path, damage: Callable[[Path], None]) -> None:
    """Every file of a version, in place."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            damage(file)


def tried(service: Service, name: str) -> bool:
    """Whether the damaged files have been looked at, and refused."""
    (status,) = httpx.get(f"{service.url}/models/{name}").json()["versions"]
    return bool(status["error"])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_lite_model_outlives_its_files(
    lenet5_repository: Path, tmp_path: Path, digit: bytes, damage: Callable[[Path], None], workers: int
) -> None:
    shutil.copytree(lenet5_repository, tmp_path / "models")
    with running("--repository", tmp_path / "models", "--poll-interval-seconds", 0.1, "--workers", workers) as service:
        service.wait_ready()
        # Rows of every batch size: each makes an interpreter look at its model anew.
        images = np.zeros((8, 28, 28, 3), np.uint8)
        before = httpx.post(f"{service.url}/predict/lenet5", content=digit).json()
        harm(tmp_path / "models" / "lenet5" / "1", damage)

        def refused() -> bool:
            for rows in (1, 3, 8):
                body = {"signature_name": "image", "instances": images[:rows].tolist()}
                reply = httpx.post(f"{service.url}/predict/lenet5", json=body)
                assert reply.status_code == 200, reply.text
            reply = httpx.post(f"{service.url}/predict/lenet5", content=digit)
            assert reply.json() == before, reply.text
            return tried(service, "lenet5")

        service.wait_until(refused, 30)
        assert "ended by" not in service.log()
        assert service.stop() == 0


@needs_testdata
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_saved_model_outlives_its_files(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """One with variables in files of their own."""
    assert TESTDATA is not None
    name = "saved_model_half_plus_two_tf2_cpu"
    shutil.copytree(TESTDATA / name, tmp_path / name)
    body = {"instances": [[1.0], [2.0]]}
    with running("--repository", tmp_path, "--poll-interval-seconds", 0.1) as service:
        service.wait_ready()
        for folder in (tmp_path / name).iterdir():
            harm(folder, damage)

        def refused() -> bool:
            reply = httpx.post(f"{service.url}/predict/{name}", json=body)
            assert reply.json().get("outputs") == {"y": [[2.5], [3.0]]}, reply.text
            return tried(service, name)

        service.wait_until(refused, 30)
        assert service.stop() == 0
