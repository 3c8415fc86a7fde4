"""One running service for all the edge tests: a real model, and anybody's SavedModel beside it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Service, running
from tests.testdata import TESTDATA


@pytest.fixture(scope="session")
def samples(lenet5_repository: Path) -> dict[str, bytes]:
    """Held-out digits as PNG bytes, by label."""
    folder = lenet5_repository / "lenet5" / "1" / "assets.extra" / "samples"
    return {path.name.partition("-")[0]: path.read_bytes() for path in sorted(folder.glob("*.png"))}


@pytest.fixture(scope="session")
def service(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    repository = tmp_path_factory.mktemp("edges")
    shutil.copytree(lenet5_repository / "lenet5", repository / "lenet5")
    if TESTDATA is not None:
        shutil.copytree(TESTDATA / "saved_model_half_plus_two_cpu", repository / "half_plus_two")
    with running("--repository", repository) as service:
        service.wait_ready()
        yield service
        assert service.stop() == 0
