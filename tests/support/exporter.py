"""The exporter as its users run it: a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_export(
    *arguments: object, env: Mapping[str, str] | None = None, interpreter: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """`python -m export` with these arguments, ended or not well; its output is captured as text."""
    return subprocess.run(
        [sys.executable, *interpreter, "-m", "export", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=280,
    )


def export(*arguments: object) -> str:
    """Runs an export that must end well, and returns what it printed on stdout."""
    ended = run_export(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


DEMO = {
    "lenet5": ["--model", "lenet5"],
    "mobilenet_v3_small": ["--model", "mobilenet_v3_small", "--image-size", "48", "--epochs", "12"],
    "efficientnet_lite0": ["--model", "efficientnet_lite0", "--weights", "imagenet"],
}
"""Two networks that learn digits, and one that knows photographs in float32: name -> the arguments of its export."""


def demo_model(name: str, folder: Path) -> Path:
    """A repository with this demo model: `TEST_MODELS`, or `folder`, into which it is exported where it is missing."""
    if made := os.environ.get("TEST_MODELS"):
        return Path(made)
    if not (folder / name / "1").is_dir():
        export(*DEMO[name], "--repository", folder)
    return folder
