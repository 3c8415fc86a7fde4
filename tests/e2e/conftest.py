"""What several of these tests share: models, and the files of the gateway's image, made once."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.security import api_keys as keys
from tests.support import image_sandbox as confined
from tests.support.api_key_service import Guarded
from tests.support.exporter import ROOT
from tests.support.once import make_once
from tests.support.raw_http import BODY_SECONDS, HEADER_SECONDS, MAX_BODY
from tests.support.service_process import Service, running


@pytest.fixture(scope="session")
def two_versions(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lenet5/1`, and a `lenet5/2` that is the same."""
    repository = tmp_path_factory.mktemp("two_versions") / "models"
    shutil.copytree(lenet5_repository, repository)
    shutil.copytree(repository / "lenet5" / "1", repository / "lenet5" / "2")
    return repository


@pytest.fixture(scope="session")
def digit(lenet5_repository: Path) -> bytes:
    """A seven, as PNG bytes."""
    return (lenet5_repository / "lenet5" / "1" / "assets.extra" / "samples" / "7-0.png").read_bytes()


@pytest.fixture(scope="module")
def guarded(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    made = [keys.make("all"), keys.make("cats", ["cats*"]), keys.make("slow", rate=0.5, burst=3)]
    file.write_text("".join(entry for _, entry in made))
    digit = (lenet5_repository / "lenet5" / "1" / "assets.extra" / "samples" / "7-0.png").read_bytes()
    with running("--repository", lenet5_repository, "--api-keys", file) as service:
        service.wait_ready()
        yield Guarded(service, file, digit, *(secret for secret, _ in made))
        assert service.stop() == 0


@pytest.fixture(scope="module")  # and no longer: other tests look for services that were left behind
def limited(lenet5_repository: Path) -> Iterator[Service]:
    limits = ("--max-headers", 20, "--max-header-bytes", 4096, "--max-connections", 40, "--max-body-bytes", MAX_BODY)
    seconds = ("--header-timeout-seconds", HEADER_SECONDS, "--body-timeout-seconds", BODY_SECONDS)
    with running("--repository", lenet5_repository, *limits, *seconds) as service:
        service.wait_ready()
        yield service
        assert "Traceback" not in service.log(), service.log()[-5000:]
        assert service.stop() == 0


@pytest.fixture
def nobody_else_is_harmed(limited: Service, digit: bytes) -> Iterator[None]:
    yield
    assert httpx.post(f"{limited.url}/predict/lenet5", content=digit, timeout=30).status_code == 200


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of `make image-tree`, brought up to date."""
    command = [sys.executable, "containers/tree.py", "gateway", "build/image-tree"]
    make_once("image-tree", tmp_path_factory, lambda _: subprocess.run(command, cwd=ROOT, check=True, timeout=280))
    return ROOT / "build" / "image-tree"


@pytest.fixture(scope="session")
def models(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lenet5/1`, where another user may read it."""
    return confined.readable(shutil.copytree(lenet5_repository, tmp_path_factory.mktemp("readable") / "models"))
