"""The examples for clients, of README.md and docs/clients.md, run as printed but for the ports of the service."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from tests.support.client_command import ENVIRONMENT
from tests.support.documents import DOCS, README, Block, read_blocks
from tests.support.service_process import Service, running

EXAMPLES = [block for page in (README, DOCS / "clients.md") for block in read_blocks(page) if block.run]
NAMES = [f"{block.page.stem} {block.kind} {number}" for number, block in enumerate(EXAMPLES, 1)]


@pytest.fixture(scope="module")
def service(serve_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """A service, and a folder with the `model_repository/` that it serves, as `make serve` has them."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(serve_repository, folder / "model_repository")
    with running("--repository", folder / "model_repository") as service:
        service.wait_ready()
        yield service, folder


def test_there_are_examples_of_every_kind() -> None:
    assert {block.kind for block in EXAMPLES} == {"bash", "python"} and len(EXAMPLES) >= 7
    assert {block.page for block in EXAMPLES} == {README, DOCS / "clients.md"}


def test_the_ports_in_them_are_the_defaults() -> None:
    fields = Settings.model_fields
    assert (fields["http_port"].default, fields["grpc_port"].default) == (8000, 8500)
    assert {port for block in EXAMPLES for port in re.findall(r"localhost:(\d+)", block.code)} == {"8000", "8500"}


@pytest.mark.parametrize("block", EXAMPLES, ids=NAMES)
def test_examples_run_as_printed(block: Block, service: tuple[Service, Path]) -> None:
    kind, (process, folder) = block.kind, service
    ports = {"8000": process.http_port, "8500": process.grpc_port}
    code = re.sub(r"(?<=localhost:)\d+", lambda port: str(ports[port[0]]), block.code)
    code = code.replace(".venv/bin/python", shlex.quote(sys.executable))
    command = ["bash", "-euo", "pipefail", "-c", code] if kind == "bash" else [sys.executable, "-c", code]
    environment = {**ENVIRONMENT, "IMAGE_MODEL_URL": process.url}  # of the client's program, whose default is :8000
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for expected in re.findall(r"print\(.*\)  # (\d+)$", code, re.MULTILINE):
        assert expected in done.stdout.split(), done.stdout
    if "coffee.jpg" in code:
        assert '"label": "espresso"' in done.stdout, done.stdout
    elif "image_model_client predict" in code:
        assert (folder / "answers.csv").read_text().startswith("file,model,version,label_1,probability_1\n")
    elif "/similar/" in code:
        assert re.findall(r'"label":"(\d)"', done.stdout) == ["7"] * 3, done.stdout
    elif ":predict" in code:
        assert '"classes": [' in done.stdout, done.stdout
    elif kind == "bash":
        wanted = re.findall(r"(\d)-0\.png", code)
        assert re.findall(r'"label": "(\d)", "probability": [\d.]+, "top_k"', done.stdout) == wanted, done.stdout


def test_the_layout_is_what_an_export_looks_like(demo_repository: Path) -> None:
    text = (DOCS / "models.md").read_text()
    for path in (demo_repository / "lenet5" / "1").iterdir():
        assert path.name in text
