"""What the tests of the gateway's image share: its files, made once, and models that its user may read."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import confined
from tests.exporting import ROOT


@pytest.fixture(scope="session")
def tree() -> Path:
    made = ROOT / "build" / "image-tree"
    subprocess.run([sys.executable, "containers/tree.py", "gateway", made], cwd=ROOT, check=True, timeout=280)
    return made


@pytest.fixture(scope="session")
def models(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lenet5/1`, where another user may read it."""
    return confined.readable(shutil.copytree(lenet5_repository, tmp_path_factory.mktemp("readable") / "models"))
