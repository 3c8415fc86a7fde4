"""`make serve` exports a demo model where no version of it lies in the repository, and only there."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.exporter import ROOT

_RECORDER = '#!/bin/sh\necho "$*" >> runs\n'


def _serve(folder: Path) -> list[str]:
    """What `make serve` runs in `folder`, whose packages are installed, with a program that notes its arguments."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(_RECORDER)
    python.chmod(0o755)
    (folder / "client").mkdir()
    for name in ("Makefile", "pyproject.toml", "client/pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, folder / name)
        os.utime(folder / name, (0, 0))
    (folder / ".venv" / "installed").touch()
    subprocess.run(["make", "serve"], cwd=folder, check=True, timeout=60, capture_output=True)
    return (folder / "runs").read_text().splitlines()


def test_an_interrupted_export_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "model_repository" / "efficientnet_lite0").mkdir(parents=True)
    (tmp_path / "model_repository" / "lenet5" / ".training").mkdir(parents=True)
    first, second, last = _serve(tmp_path)
    assert first.startswith("-m export --model efficientnet_lite0 ")
    assert second == "-m export --model lenet5"
    assert last == "-m service"


def test_a_published_version_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "model_repository" / "efficientnet_lite0" / "2").mkdir(parents=True)
    (tmp_path / "model_repository" / "lenet5" / "1").mkdir(parents=True)
    assert _serve(tmp_path) == ["-m service"]
