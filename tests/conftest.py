"""Models exported for real, once a session, with the very commands of `make serve`."""

import shutil
from pathlib import Path

import pytest

from tests.exporting import demo, export


@pytest.fixture(scope="session")
def lenet5_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `lenet5/1`."""
    repository = tmp_path_factory.mktemp("lenet5_repository")
    export(*demo()["lenet5"], "--repository", repository)
    return repository


@pytest.fixture(scope="session")
def demo_repository(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `lenet5/1` and `mobilenet_v3_small/1`."""
    repository = tmp_path_factory.mktemp("demo_repository")
    shutil.copytree(lenet5_repository / "lenet5", repository / "lenet5")
    export(*demo()["mobilenet_v3_small"], "--repository", repository)
    return repository
