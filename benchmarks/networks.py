"""The twelve networks that reports compare: small and large, plain and depthwise, with and without hard-swish."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from service.repository.manifest import Manifest

NETWORKS = (
    "lenet5",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "nasnet_mobile",
    "resnet50",
    "densenet121",
    "inception_v3",
    "convnext_tiny",
)

CACHE = Path("build/bench")
UNTRAINED = ("--epochs", "0", "--force", "--quantize", "--max-accuracy-drop", "1")
"""Flags of an export: how fast a network is does not depend on what it has learnt, and its accuracy means nothing."""


def exported(repository: Path, name: str, arguments: Sequence[str]) -> tuple[Path, Manifest]:
    """The newest version of `name` below `repository`, exported with `arguments` where there is none.

    Raises CalledProcessError where that fails.
    """
    if not _versions(repository / name):
        command = [sys.executable, "-m", "export", "--model", name, *arguments, "--repository", str(repository)]
        subprocess.run(command, check=True)
    found = find_version(repository, name)
    assert found is not None
    return found


def find_version(repository: Path, name: str) -> tuple[Path, Manifest] | None:
    """The newest version of `name` below `repository`; None without any."""
    number = max(_versions(repository / name), default=0)
    folder = repository / name / str(number)
    manifest = Manifest.read(folder, name, number) if number else None
    return (folder, manifest) if manifest is not None else None


def _versions(model: Path) -> list[int]:
    return [int(folder.name) for folder in model.glob("*") if folder.name.isdigit()]
