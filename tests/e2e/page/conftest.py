"""A service with models of every kind, and a browser."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload

from tests.support.chromium import Browser, browser
from tests.support.page import as_file
from tests.support.service_process import Service, running
from tests.support.testdata import with_half_plus_two

_LONG = "a label that nobody would want to read aloud, " * 6


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def repository(lenet5_repository: Path, demo_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of lenet5, of which one has the labels in reverse; a foreign model of numbers; a detector; and a
    network with long labels.
    """
    folder = with_half_plus_two(lenet5_repository, tmp_path_factory.mktemp("page") / "models")
    shutil.copytree(demo_repository / "mobilenet_v3_small", folder / "mobilenet_v3_small")
    shutil.copytree(folder / "lenet5" / "1", folder / "long" / "1")
    rewrite_labels(folder / "long" / "1", [f"{number} {_LONG}" for number in range(10)])
    version = folder / "ssd" / "1"
    program = f"from pathlib import Path; from tests.support import detector; detector.write(Path({str(version)!r}))"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    (version / "assets").mkdir(exist_ok=True)
    (version / "assets" / "labels.txt").write_text("apple\nleaf\n")
    return folder


@pytest.fixture(scope="module")
def service(repository: Path) -> Iterator[Service]:
    with running("--repository", repository, "--max-body-bytes", 3_000_000) as service:
        service.wait_ready()
        yield service
        assert "Traceback" not in service.log(), service.log()[-5000:]


@pytest.fixture(scope="session")
def seven(lenet5_repository: Path) -> FilePayload:
    sample = lenet5_repository / "lenet5" / "1" / "assets.extra" / "samples" / "7-0.png"
    return as_file("7-0.png", sample.read_bytes())


def rewrite_labels(version: Path, labels: list[str]) -> None:
    """Of a copy: its list of checksums would tell."""
    (version / "assets.extra" / "files.json").unlink()
    (version / "assets" / "labels.txt").write_text("\n".join(labels))
