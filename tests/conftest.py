"""Models exported for real, once a session.

`TEST_MODELS=FOLDER` takes those that it holds from a repository, and puts the others there: for people who run a test
over and over.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.exporter import DEMO, export
from tests.support.int8_form import add_form
from tests.support.once import make_once

# A shell's background job ignores it, and so would every process that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def lenet5_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `lenet5/1`."""
    repository = tmp_path_factory.mktemp("lenet5_repository")
    shutil.copytree(_exported("lenet5", tmp_path_factory), repository / "lenet5")
    return repository


@pytest.fixture(scope="session")
def int8_repository(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `lenet5/1` that has OpenVINO's int8 form too."""

    def make(folder: Path) -> None:
        shutil.copytree(lenet5_repository / "lenet5", folder / "lenet5", dirs_exist_ok=True)
        add_form(folder / "lenet5" / "1")

    return make_once("int8_lenet5", tmp_path_factory, make)


@pytest.fixture(scope="session")
def demo_repository(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `lenet5/1` and `mobilenet_v3_small/1`."""
    repository = tmp_path_factory.mktemp("demo_repository")
    shutil.copytree(lenet5_repository / "lenet5", repository / "lenet5")
    shutil.copytree(_exported("mobilenet_v3_small", tmp_path_factory), repository / "mobilenet_v3_small")
    return repository


@pytest.fixture(scope="session")
def serve_repository(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as `make serve` makes it, but nothing quantized: `efficientnet_lite0/1` and `lenet5/1`."""
    repository = tmp_path_factory.mktemp("serve_repository")
    shutil.copytree(lenet5_repository / "lenet5", repository / "lenet5")
    shutil.copytree(_exported("efficientnet_lite0", tmp_path_factory), repository / "efficientnet_lite0")
    return repository


def _exported(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    kept = os.environ.get("TEST_MODELS")
    if not (kept and Path(kept, name, "1").is_dir()):
        made = make_once(name, tmp_path_factory, lambda folder: export(*DEMO[name], "--repository", kept or folder))
        return Path(kept or made, name)
    return Path(kept, name)
