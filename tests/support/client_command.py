"""The client's program as people run it: in a process of its own, from a folder of theirs."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.exporter import ROOT

ENVIRONMENT: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
"""In which the client is found, installed or not."""


def start_client(folder: Path, url: str, *arguments: str | bytes | Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "image_model_client", "predict", *arguments, "--url", url]
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run_client(folder: Path, url: str, *arguments: str | bytes | Path) -> "subprocess.CompletedProcess[bytes]":
    with start_client(folder, url, *arguments) as process:
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
