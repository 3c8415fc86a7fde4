"""Models exported for real, once a session, with the very commands of `make serve`.

`TEST_MODELS=FOLDER` takes them from a repository that holds both already: for people who run a test over and over.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.exporting import demo, export

# A shell's background job ignores it, and so would every process that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def lenet5_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `lenet5/1`."""
    repository = tmp_path_factory.mktemp("lenet5_repository")
    if made := os.environ.get("TEST_MODELS"):
        shutil.copytree(Path(made, "lenet5"), repository / "lenet5")
    else:
        export(*demo()["lenet5"], "--repository", repository)
    return repository


@pytest.fixture(scope="session")
def demo_repository(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `lenet5/1` and `mobilenet_v3_small/1`."""
    repository = tmp_path_factory.mktemp("demo_repository")
    shutil.copytree(lenet5_repository / "lenet5", repository / "lenet5")
    if made := os.environ.get("TEST_MODELS"):
        shutil.copytree(Path(made, "mobilenet_v3_small"), repository / "mobilenet_v3_small")
    else:
        export(*demo()["mobilenet_v3_small"], "--repository", repository)
    return repository
