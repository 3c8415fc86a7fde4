"""The README's examples, run as printed against a service on its default ports."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service_process import running

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"<!-- run -->\n```(bash|python)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def folder(demo_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `model_repository/` in it, served the way `make serve` does."""
    if taken(8000) or taken(8500):
        pytest.skip("ports 8000 and 8500, which the README's examples name, are in use here")
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(demo_repository, folder / "model_repository")
    ports = {"SERVICE_HTTP_PORT": "8000", "SERVICE_GRPC_PORT": "8500"}
    with running("--repository", folder / "model_repository", env=ports) as service:
        service.wait_ready()
        yield folder


def test_there_are_examples_of_every_kind() -> None:
    assert {kind for kind, _ in EXAMPLES} == {"bash", "python"} and len(EXAMPLES) >= 6


@pytest.mark.parametrize(("kind", "code"), EXAMPLES, ids=[f"{kind} {n}" for n, (kind, _) in enumerate(EXAMPLES, 1)])
def test_examples_run_as_printed(kind: str, code: str, folder: Path) -> None:
    command = ["bash", "-euo", "pipefail", "-c", code] if kind == "bash" else [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=os.environ)
    assert done.returncode == 0, done.stderr
    for expected in re.findall(r"print\(.*\)  # (\d+)$", code, re.MULTILINE):
        assert expected in done.stdout.split(), done.stdout
    if ":predict" in code:
        assert '"classes": [' in done.stdout, done.stdout
    elif kind == "bash":
        wanted = re.findall(r"(\d)-0\.png", code)
        assert re.findall(r'"label": "(\d)", "probability": [\d.]+, "top_k"', done.stdout) == wanted, done.stdout


def test_the_layout_is_what_an_export_looks_like(demo_repository: Path) -> None:
    text = (ROOT / "README.md").read_text()
    for path in (demo_repository / "lenet5" / "1").iterdir():
        assert path.name in text
