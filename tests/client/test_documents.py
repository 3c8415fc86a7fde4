"""The examples of client/README.md run as printed but for the ports, beside a photograph and a folder of them."""

import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.client_command import ENVIRONMENT
from tests.support.documents import CLIENT_README, Block, read_blocks
from tests.support.service_process import Service

EXAMPLES = [block for block in read_blocks(CLIENT_README) if block.run]


@pytest.mark.parametrize("block", EXAMPLES, ids=[f"{block.kind} {number}" for number, block in enumerate(EXAMPLES, 1)])
def test_examples_run_as_printed(block: Block, service: Service, coffee: bytes, tmp_path: Path) -> None:
    Image.open(io.BytesIO(coffee)).save(tmp_path / "coffee.jpg", quality=90)
    (tmp_path / "photos").mkdir()
    shutil.copyfile(tmp_path / "coffee.jpg", tmp_path / "photos" / "1.jpg")
    ports = {"8000": service.http_port, "8500": service.grpc_port}
    code = re.sub(r"(?<=localhost:)\d+", lambda port: str(ports[port[0]]), block.code)
    if block.kind == "bash":
        code = re.sub("^python", shlex.quote(sys.executable), code)
    command = ["bash", "-euc", code] if block.kind == "bash" else [sys.executable, "-c", code]
    environment = {**ENVIRONMENT, "IMAGE_MODEL_URL": service.url}  # of the program, whose default is :8000
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    printed = done.stdout or (tmp_path / "answers.csv").read_text()
    assert "espresso" in printed
    if "ClientError" in code:
        assert "no such file.jpg cannot be read" in printed and "DeadlineExceeded the deadline" in printed
